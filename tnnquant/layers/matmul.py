"""Matrix product of blobs, or of a blob and a matrix in the model file (docs/tnn-format.md, 4.4, 5.1, 9)."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import ScaleField, TensorField, param

__all__ = ["MatMul"]


def product_dims(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """Dims of a matrix product, batch dims broadcast from the right (docs/tnn-format.md, 4.4).

    Raises
    ------
    GraphError
        The operands do not fit.
    """
    if not a or not b:
        raise GraphError("multiplies a scalar; use Mul")
    left, right = (1, *a) if len(a) == 1 else tuple(a), (*b, 1) if len(b) == 1 else tuple(b)
    pairs = list(zip(left[-3::-1], right[-3::-1], strict=False))
    if left[-1] != right[-2] or any(m != n and 1 not in (m, n) for m, n in pairs):
        raise GraphError(f"cannot multiply {tuple(a)} by {tuple(b)}: last dim of the first against the last but one")
    longer = left if len(left) >= len(right) else right
    batch = (*longer[: len(longer) - 2 - len(pairs)], *(max(pair) for pair in reversed(pairs)))
    return (*batch, *(left[-2:-1] if len(a) > 1 else ()), *(right[-1:] if len(b) > 1 else ()))


@dataclass
class _State:
    """The constant operand: packed when it is one matrix on the right side, else as it is."""

    a: np.ndarray | None = None
    b: np.ndarray | None = None
    packed: Any = None
    columns: int = 0


#: What was packed of constants that are still in use, by the constant.
_PACKED: dict[int, tuple[weakref.ref[np.ndarray], Any]] = {}


def _packed(constant: np.ndarray, pack: Callable[[], Any]) -> Any:
    """What ``pack`` makes of a constant: once for all products of it, as the steps of a recurrence are."""
    number = id(constant)
    found = _PACKED.get(number)
    if found is None or found[0]() is not constant:
        found = _PACKED[number] = weakref.ref(constant, lambda _: _PACKED.pop(number, None)), pack()
    return found[1]


def _matrices(x: np.ndarray, *, is_left: bool) -> np.ndarray:
    """An operand as C-contiguous (batch, rows, columns)."""
    if x.ndim == 1:
        return np.ascontiguousarray(x[None, None] if is_left else x[None, :, None])
    return np.ascontiguousarray(x).reshape(-1, *x.shape[-2:])


@layer(105, "MatMul", "DynamicRangeQuantizedMatMul")
class MatMul(Layer):
    """``A @ B``; ``weight_position`` 0: A lies in the model file, 1: B does, -1: both are blobs.

    As in TNN, product i of a batch is of A number i modulo A's batches, and of B likewise; where both are broadcast,
    this is not the pairing of NumPy.
    """

    ANY_LAYOUT = True

    RESOURCE = (TensorField("weight"), ScaleField("weight", zero_point=False))

    weight_position: int = param(default=-1)

    def _operand_dims(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[tuple[int, ...]]:
        """Dims of A and B."""
        check_inputs(inputs, 1, 2)
        check_types(inputs, DataType.FLOAT)
        if len(inputs) == 2:
            return [spec.dims for spec in inputs]
        if self.weight_position not in (0, 1):
            raise GraphError(f"has one input blob and weight_position {self.weight_position}, expected 0 or 1")
        if "weight" not in tensors or not tensors["weight"].size:
            raise GraphError("has no weight in the model file, and only one input blob")
        weight = tensors["weight"]
        if prod(weight.dims) != weight.size or not weight.dims:
            raise GraphError(f"weight has {weight.size} values and the dims {weight.dims}")
        dims = [inputs[0].dims, inputs[0].dims]
        dims[self.weight_position] = weight.dims
        return dims

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(product_dims(*self._operand_dims(inputs, tensors)), inputs[0].dtype)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> _State:
        from tnnquant.kernels.pack_f32 import pack_inner_product_f32

        self._operand_dims(inputs, tensors)
        if len(inputs) == 2:
            constant = inputs[1].value
        else:
            if tensors["weight"].dtype == DataType.INT8:
                tensors = self.widened(tensors)
            constant = tensors["weight"].float32().reshape(tensors["weight"].dims)
            if self.weight_position == 0:
                return _State(a=constant)
        if constant is None:
            return _State()
        b = _matrices(constant, is_left=False)
        if len(b) > 1:
            return _State(b=constant)
        return _State(b=constant, packed=_packed(constant, lambda: pack_inner_product_f32(b[0].T)), columns=b.shape[2])

    def _operands(self, inputs: Sequence[np.ndarray], state: _State) -> tuple[np.ndarray, np.ndarray]:
        if len(inputs) == 2:
            return inputs[0], inputs[1]
        if state.a is not None:
            return state.a, inputs[0]
        assert state.b is not None  # one of the two is constant
        return inputs[0], state.b

    def forward(self, inputs: Sequence[np.ndarray], state: _State) -> list[np.ndarray]:
        from tnnquant.kernels.gemm_f32 import gemm_f32
        from tnnquant.kernels.matmul_f32 import matmul_f32

        a, b = self._operands(inputs, state)
        out = np.empty(product_dims(a.shape, b.shape), np.float32)
        left = _matrices(a, is_left=True)
        if state.packed is not None:
            gemm_f32(left.reshape(-1, left.shape[2]), state.packed, 0, out.reshape(-1, state.columns))
        else:
            right = _matrices(b, is_left=False)
            matmul_f32(left, right, out.reshape(-1, left.shape[1], right.shape[2]))
        return [out]

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: _State) -> np.ndarray | None:
        from tnnquant.kernels.gemm_f32 import gemm_f32_op
        from tnnquant.kernels.matmul_f32 import matmul_f32_op

        if not all(x.flags.c_contiguous for x in (*inputs, *outputs)):
            return None
        a, b = self._operands(inputs, state)
        left, out = _matrices(a, is_left=True), outputs[0]
        if state.packed is not None:
            return gemm_f32_op(left.reshape(-1, left.shape[2]), state.packed, 0, out.reshape(-1, state.columns))
        right = _matrices(b, is_left=False)
        return matmul_f32_op(left, right, out.reshape(-1, left.shape[1], right.shape[2]))

    def widened(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if "weight" not in tensors or "scale" not in tensors or not tensors["scale"].size:
            raise GraphError("has no int8 weight with a scale in the model file")
        weight = tensors["weight"].data.astype(np.float32) * tensors["scale"].float32()[0]
        return {"weight": Tensor(weight, tensors["weight"].dims)}

    def macs(self, inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec]) -> int:
        a = inputs[0].dims
        length = a[-1] if self.weight_position != 0 or len(inputs) == 2 else (a[-2] if len(a) > 1 else a[0])
        return prod(outputs[0].dims) * length
