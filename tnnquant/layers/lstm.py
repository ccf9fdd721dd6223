"""LSTM in ONNX's form (docs/tnn-format.md, 4.4, 5.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import param

__all__ = ["LSTMONNX"]

REVERSE, BIDIRECTIONAL = 1, 2


@layer(310, "LSTMONNX", "DynamicRangeQuantizedLSTMONNX")
class LSTMONNX(Layer):
    """LSTM over (T, B, I) blobs; ``direction`` 0 forward, 1 reverse, 2 both.

    The inputs are x, W (dirs, 4*H, I), R (dirs, 4*H, H), B (dirs, 8*H), gates in the order I, O, F, C, and, if wanted,
    the initial h and c (dirs, B, H). The outputs are every h (T, B, dirs*H), the last h and the last c (dirs, B, H).
    TNN reads a clip threshold and does not use it.
    """

    clip_threshold: float = param("float", default=0.0)
    hidden_size: int = param(default=0)
    direction: int = param(default=0)

    @property
    def directions(self) -> int:
        """How often the sequence is read: once, or from both ends."""
        return 2 if self.direction == BIDIRECTIONAL else 1

    def _sizes(self, inputs: Sequence[BlobSpec]) -> tuple[int, int, int]:
        """T, B, I; the inputs are checked."""
        check_inputs(inputs, 4, 6)
        check_types(inputs, DataType.FLOAT)
        if self.direction not in (0, REVERSE, BIDIRECTIONAL):
            raise GraphError(f"direction is {self.direction}, expected 0 (forward), 1 (reverse) or 2 (both)")
        if len(inputs[0].dims) < 2 or self.hidden_size < 1:
            raise GraphError(
                f"the input has the dims {inputs[0].dims}, expected (T, B, I); hidden_size is {self.hidden_size}"
            )
        (steps, batch, *rest), hidden, dirs = inputs[0].dims, self.hidden_size, self.directions
        length = prod(rest)
        state = (dirs, batch, hidden)
        wanted = {"W": (dirs, 4 * hidden, length), "R": (dirs, 4 * hidden, hidden), "B": (dirs, 8 * hidden)}
        wanted |= {"the initial h": state, "the initial c": state} if len(inputs) == 6 else {}
        for (name, dims), spec in zip(wanted.items(), inputs[1:], strict=False):
            if prod(spec.dims) != prod(dims):
                got, expected = prod(spec.dims), "*".join(map(str, dims))
                raise GraphError(f"{name} has {got} values, expected {expected} = {prod(dims)}")
        return steps, batch, length

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        steps, batch, _ = self._sizes(inputs)
        last = BlobSpec((self.directions, batch, self.hidden_size))
        return [BlobSpec((steps, batch, self.directions * self.hidden_size)), last, last]

    def _pack(self, w: np.ndarray, r: np.ndarray, b: np.ndarray) -> Any:
        from tnnquant.kernels.lstm_f32 import pack_lstm_f32

        dirs, hidden = self.directions, self.hidden_size
        return pack_lstm_f32(w.reshape(dirs, 4 * hidden, -1), r.reshape(dirs, 4 * hidden, hidden), b.reshape(dirs, -1))

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        self._sizes(inputs)
        weights = [spec.value for spec in inputs[1:4] if spec.value is not None]
        return self._pack(*weights) if len(weights) == len(inputs[1:4]) else None

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        from tnnquant.kernels.lstm_f32 import lstm_f32

        packed = self._pack(*inputs[1:4]) if state is None else state
        steps, batch, *_ = inputs[0].shape
        x = np.ascontiguousarray(inputs[0]).reshape(steps, batch, -1)
        shape = (self.directions, batch, self.hidden_size)
        given = len(inputs) == 6
        h, c = (np.array(inputs[i], order="C").reshape(shape) if given else np.zeros(shape, np.float32) for i in (4, 5))
        y = np.empty((steps, batch, self.directions * self.hidden_size), np.float32)
        return [lstm_f32(x, packed, self.direction == REVERSE, h, c, y), h, c]

    def widened(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)  # the int8 weights are constants of the graph, not tensors of the layer

    def macs(self, inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec]) -> int:
        steps, batch, *rest = inputs[0].dims
        return steps * batch * self.directions * 4 * self.hidden_size * (prod(rest) + self.hidden_size)
