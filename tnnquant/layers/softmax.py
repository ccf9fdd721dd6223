"""Softmax and LogSoftmax (docs/tnn-format.md, 5.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.elementwise import in_double
from tnnquant.layers.fields import param
from tnnquant.layers.memory import dense, memory_axes, restored, split_at
from tnnquant.layers.movement import axis_of

__all__ = ["AlongAxis", "LogSoftmax", "Softmax"]


@dataclass(frozen=True)
class AlongAxis(Layer):
    axis: int = param("int", 1)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        axis_of(self.axis, len(inputs[0].dims))
        return self

    def softmax(self, x: np.ndarray) -> np.ndarray:
        """float32, of the memory order of ``x``."""
        from tnnquant.kernels.softmax import softmax_f32

        axis = axis_of(self.axis, x.ndim)
        x, axes = dense(x)
        out = np.empty_like(x)
        if x.size:
            dims = split_at(x, axes.index(axis))
            softmax_f32(x.reshape(dims), out.reshape(dims))
        return restored(out, axes)


@layer(21, "Softmax", "SoftmaxCaffe", "Softmax_nhwc")
class Softmax(AlongAxis):
    """exp(x - max) / sum along an axis."""

    KEEPS_LAYOUT = True

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [self.softmax(inputs[0])]

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> np.ndarray | None:
        from tnnquant.kernels.softmax import softmax_f32_op

        axes = memory_axes(outputs[0])
        x, out = inputs[0].transpose(axes), outputs[0].transpose(axes)
        if not (x.size and x.flags.c_contiguous and out.flags.c_contiguous):
            return None
        dims = split_at(x, axes.index(axis_of(self.axis, x.ndim)))
        return softmax_f32_op(x.reshape(dims), out.reshape(dims))


@layer(330, "LogSoftmax")
class LogSoftmax(AlongAxis):
    """The logarithm of the softmax; -inf where that is 0."""

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            return [in_double(np.log, self.softmax(inputs[0]))]
