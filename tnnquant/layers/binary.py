"""Binary arithmetic with broadcasting: Add, Sub, Mul, Div, Maximum, ... (docs/tnn-format.md, 4.4, 5.3, 6.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any, ClassVar, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobScales, BlobSpec, Layer, QuantRole, layer
from tnnquant.layers.checks import check_inputs, check_same_type, check_types
from tnnquant.layers.elementwise import arithmetic, check_broadcast, right_maximum, spread, stretched
from tnnquant.layers.fields import TensorField, param
from tnnquant.layers.halves import int8_form
from tnnquant.layers.int8 import PixelInt8
from tnnquant.layers.movement import carried_dtype, text

__all__ = ["Add", "And", "Binary", "Div", "Maximum", "Minimum", "Mul", "SquaredDifference", "Sub"]


@dataclass(frozen=True)
class Binary(Layer):
    """Left fold of an operation over the operands, aligned on the right.

    With one input blob the other operand lies in the resource: the first one if ``weight_input_index`` is 0, the second
    if it is 1.
    """

    NORMALIZES = True
    BY_ELEMENT = True
    KEEPS_LAYOUT = True

    weight_input_index: int = param("int", 1)

    RESOURCE = (TensorField("element"),)
    FUNCTION: ClassVar[str] = ""
    """Name of the code in :mod:`tnnquant.kernels.eltwise`, if it is there."""
    TYPES: ClassVar[tuple[DataType, ...]] = (DataType.FLOAT, DataType.INT32)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1, 1 << 20)
        check_types(inputs, *self.TYPES)
        check_same_type(inputs)
        if len(inputs) == 1:
            self._check_element(inputs[0], tensors)
        return self

    def _check_element(self, spec: BlobSpec, tensors: Mapping[str, Tensor]) -> None:
        if "element" not in tensors or tensors["element"].size == 0:
            raise GraphError("has one input blob and no operand in the .tnnmodel (do the two files belong together?)")
        if self.weight_input_index not in (0, 1):
            raise GraphError(f"weight_input_index is {self.weight_input_index}, expected 0 or 1 with one input blob")
        stored = tensors["element"].dtype
        if stored in (DataType.HALF, DataType.BFP16):
            stored = DataType.FLOAT
        if stored != spec.dtype:
            raise GraphError(f"the operand in the .tnnmodel is {stored.name}, the input is {spec.dtype.name}")

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        dims = [spec.dims for spec in inputs]
        if len(dims) == 1:
            dims.append(element_dims(tensors["element"], dims[0]))
        else:
            check_broadcast(*dims[:2])
        return [BlobSpec(right_maximum(dims), carried_dtype(inputs))]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> np.ndarray | None:
        if len(inputs) > 1:
            return None
        element = tensors["element"]
        data = element.float32() if inputs[0].dtype == DataType.FLOAT else element.data
        return np.ascontiguousarray(data.reshape(element_dims(element, inputs[0].dims)))

    def _operands(self, inputs: Sequence[np.ndarray], state: np.ndarray | None) -> list[np.ndarray]:
        if state is None:
            return list(inputs)
        return [state, inputs[0]] if self.weight_input_index == 0 else [inputs[0], state]

    def forward(self, inputs: Sequence[np.ndarray], state: np.ndarray | None) -> list[np.ndarray]:
        operands = self._operands(inputs, state)
        dims = right_maximum([x.shape for x in operands])
        with np.errstate(all="ignore"):
            return [spread(reduce(self.combine, [stretched(x, dims) for x in operands]), dims)]

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The operation on two arrays of one type that NumPy can broadcast."""
        if a.dtype == np.float32 and self.FUNCTION:
            return arithmetic(self.FUNCTION, a, b)
        return self.compute(a, b)

    def compute(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The operation in NumPy, for integers and for what the kernels do not have."""
        raise NotImplementedError

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: np.ndarray | None
    ) -> np.ndarray | None:
        from tnnquant.kernels import eltwise

        operands = self._operands(inputs, state)
        dims = outputs[0].shape
        if not self.FUNCTION or len(operands) != 2 or any(stretched(x, dims) is not x for x in operands):
            return None
        a, b = operands
        return eltwise.binary_f32_op(getattr(eltwise, self.FUNCTION), a, b, outputs[0])


def element_dims(element: Tensor, dims: Sequence[int]) -> tuple[int, ...]:
    """Dims of the operand in the resource: as stored, else told from its size and those of the input
    (docs/tnn-format.md, 4.4).

    Raises
    ------
    GraphError
        The stored dims do not give the size, or a size without dims fits nothing.
    """
    size, rank = element.size, len(dims)
    if element.dims:
        if prod(element.dims) != size:
            raise GraphError(f"the operand in the .tnnmodel has dims {text(element.dims)} but {size} values")
        return element.dims
    if size == 1:
        return (1,)
    if rank > 1 and size == dims[1]:
        return (size, *(1,) * (rank - 2))
    if size == prod(dims[1:]):
        return tuple(dims[1:])
    if rank >= 4 and size == dims[3]:
        return (size, *(1,) * (rank - 4))
    if rank > 2 and size == prod(dims[2:]):
        return tuple(dims[2:])
    raise GraphError(f"the operand in the .tnnmodel has {size} values without dims, which fit no axes of {text(dims)}")


@layer(38, "Add", "QuantizedAdd")
class Add(Binary):
    """a + b."""

    QUANT = QuantRole.JOIN
    FUNCTION = "ADD"

    def compute(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b

    def why_not_int8(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> str | None:
        if len(inputs) < 2:
            return "an operand lies in the model file; TNN's int8 form takes blobs only"
        if not 2 <= len(inputs[0].dims) <= 4:
            return f"TNN's int8 add computes rank 2 to 4, its inputs are {text(inputs[0].dims)}"
        if any(spec.dims != inputs[0].dims for spec in inputs):
            dims = ", ".join(text(spec.dims) for spec in inputs)
            return f"TNN's int8 add does not broadcast, its inputs are {dims}"
        return None


@int8_form(Add)
class AddInt8(PixelInt8[Add]):
    """Two or more blobs of the same dims."""

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        check_inputs(inputs, 2, 1 << 20)
        if any(spec.dims != outputs[0].dims for spec in inputs):
            dims = ", ".join(text(spec.dims) for spec in inputs)
            raise UnsupportedLayerError(f"TNN's int8 add does not broadcast, its inputs are {dims}")
        # The first input decides for all blobs whether one scale or one per channel is used (docs/tnn-format.md, 6.5).
        count = 1 if scales.of_inputs[0].scale.size == 1 else None
        return [(params.scale[:count], params.zero_point[:count]) for params in (*scales.of_inputs, *scales.of_outputs)]

    def ops(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        from tnnquant.kernels.eltwise_i8 import Scales, add_i8_op

        scales = [Scales(*params) for params in state]
        op, table = add_i8_op(list(inputs), scales[:-1], scales[-1], outputs[0])
        keep.append(table)
        return op


@layer(108, "Sub")
class Sub(Binary):
    """a - b."""

    FUNCTION = "SUB"

    def compute(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a - b


@layer(42, "Mul")
class Mul(Binary):
    """a * b."""

    FUNCTION = "MUL"

    def compute(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b


@layer(175, "Div")
class Div(Binary):
    """a / b; of integers cut off towards zero, and 0 where TNN crashes on a division by 0."""

    FUNCTION = "DIV"

    def compute(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        quotient = np.divide(a, b, dtype=np.float64)  # exact enough: 53 bits for the quotient of two of 32
        return np.where(b == 0, 0, np.trunc(quotient)).astype(np.int64).astype(np.int32)


@layer(137, "Maximum")
class Maximum(Binary):
    """The larger one; the first where one is NaN."""

    TYPES = (DataType.FLOAT,)

    def compute(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(a < b, b, a)


@layer(140, "Minimum")
class Minimum(Binary):
    """The smaller one; the first where one is NaN."""

    TYPES = (DataType.FLOAT,)

    def compute(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(b < a, b, a)


@layer(198, "SquaredDifference")
class SquaredDifference(Binary):
    """(a - b) ** 2."""

    TYPES = (DataType.FLOAT,)

    def compute(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        difference = arithmetic("SUB", a, b)
        return arithmetic("MUL", difference, difference)


@layer(332, "And")
class And(Binary):
    """1 where both are not 0, else 0; INT8 only, which stands for booleans in TNN."""

    TYPES = (DataType.INT8,)

    def compute(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.logical_and(a, b).astype(np.int8)
