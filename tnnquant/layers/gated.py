"""Layers that multiply a blob by a gate made of it or of another: HardSwish, GLU, SignedMul (docs/tnn-format.md, 5.3,
9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_rank, check_types
from tnnquant.layers.elementwise import Unary, arithmetic, check_broadcast, mapped, right_maximum, spread, stretched
from tnnquant.layers.fields import param
from tnnquant.layers.memory import like
from tnnquant.layers.movement import axis_of, text

__all__ = ["Glu", "HardSwish", "SignedMul"]

_ONE = np.float32(1)


@layer(173, "HardSwish")
class HardSwish(Layer):
    """x0 * max(min(x1 * alpha + beta, 1), 0), with x1 the second input if there is one, else x0.

    The shape of the output is that of two operands aligned on the right; their elements are then paired aligned on the
    LEFT: the lower rank is padded with trailing ones.
    """

    BY_ELEMENT = True
    KEEPS_LAYOUT = True

    alpha: float = param("float", 1.0)
    beta: float = param("float", 0.0)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1, 2)
        check_types(inputs, DataType.FLOAT)
        return self

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_broadcast(inputs[0].dims, inputs[-1].dims)
        return [BlobSpec(right_maximum([spec.dims for spec in inputs]), inputs[0].dtype)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> list[np.ndarray]:
        return []  # keeps the gate of a program alive

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        if len(inputs) == 1:
            return [mapped(inputs[0], "HARD_SWISH", self.alpha, self.beta)]
        dims = right_maximum([x.shape for x in inputs])
        x0, x1 = (stretched(x, dims) for x in _left_aligned(inputs))
        return [spread(arithmetic("MUL", x0, mapped(x1, "GATE", self.alpha, self.beta)), dims)]

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> np.ndarray | None:
        from tnnquant.kernels import eltwise

        if len(inputs) == 1:
            return eltwise.map_f32_op(eltwise.HARD_SWISH, inputs[0], self.alpha, self.beta, outputs[0])
        operands = _left_aligned(inputs)
        if any(stretched(x, outputs[0].shape) is not x for x in operands):
            return None
        gate = like(operands[1])
        ops = [
            eltwise.map_f32_op(eltwise.GATE, operands[1], self.alpha, self.beta, gate),
            eltwise.binary_f32_op(eltwise.MUL, operands[0], gate, outputs[0]),
        ]
        made = [op for op in ops if op is not None]
        if len(made) < len(ops):
            return None
        state.append(gate)
        return np.concatenate(made)


def _left_aligned(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    # Padded with trailing ones to one rank.
    rank = max(x.ndim for x in inputs)
    return [x[(..., *[None] * (rank - x.ndim))] for x in inputs]


@layer(402, "GLU")
class Glu(Layer):
    """a / (1 + exp(-b)) of the two halves a, b along an axis."""

    axis: int = param("int", -1)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        axis = axis_of(self.axis, len(inputs[0].dims))
        if axis == 0:
            raise GraphError("axis 0 is the batch; TNN's GLU splits any other")
        if inputs[0].dims[axis] % 2:
            raise GraphError(f"axis {axis} of {text(inputs[0].dims)} is odd and has no two halves")
        return replace(self, axis=axis)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        dims = list(inputs[0].dims)
        dims[self.axis] //= 2
        return [BlobSpec(tuple(dims), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        a, b = np.split(inputs[0], 2, axis=self.axis)
        return [arithmetic("MUL", a, mapped(b, "SIGMOID"))]


@layer(196, "SignedMul")
class SignedMul(Unary):
    """(sign(x - alpha) + beta) / gamma, then every channel times channel 0, which comes last and is squared."""

    alpha: float = param("float")
    beta: float = param("float")
    gamma: float = param("float")

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        check_rank(inputs, 2)
        return self

    def compute(self, x: np.ndarray) -> np.ndarray:
        signs = np.sign(x - np.float32(self.alpha))
        t = (signs + np.float32(self.beta)) * (_ONE / np.float32(self.gamma))
        return t * t[:, :1]
