"""Shape, Size, Range and ConstantOfShape: blobs made of dims and constants (docs/tnn-format.md, 4.4, 5.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import TensorField
from tnnquant.layers.movement import Movement, checked_dims, integers

__all__ = ["ConstantOfShape", "Range", "Shape", "Size"]

# A blob larger than this many elements is a corrupt model, not a mask.
_MAX_ELEMENTS = 1 << 31


@layer(72, "Shape")
class Shape(Movement):
    """The dims of the input, INT32."""

    FOLDS_SHAPE = True

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec((len(inputs[0].dims),), DataType.INT32, np.array(inputs[0].dims, np.int32))]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [np.array(inputs[0].shape, np.int32)]


@layer(312, "Size")
class Size(Movement):
    """The number of elements of the input, INT32, dims (1)."""

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec((1,), DataType.INT32)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [np.array([inputs[0].size], np.int32)]


@layer(311, "Range")
class Range(Movement):
    """``start, start + delta, ...`` below ``limit``; inputs start, limit, delta.

    ``count = ceil((limit - start) / delta)``; for integers the division is cut off first, so that 5 to -2 by -2 has
    three values.
    """

    LEAST_INPUTS = 3

    @staticmethod
    def _values(inputs: Sequence[np.ndarray]) -> np.ndarray:
        if any(x.size != 1 for x in inputs[:3]):
            raise GraphError("expected three inputs of one element each: start, limit, delta")
        start, limit, delta = (x.reshape(-1)[0] for x in inputs[:3])
        if delta == 0:
            raise GraphError("its delta is 0")
        if start.dtype.kind == "f":
            count = np.ceil((limit - start) / delta)
            if not np.isfinite(count):
                raise GraphError(f"from {start} to {limit} by {delta} has no end")
            count = int(count)
        else:
            start, limit, delta = int(start), int(limit), int(delta)
            count = abs(limit - start) // abs(delta) if (limit - start) * delta > 0 else 0
        if count > _MAX_ELEMENTS:
            raise GraphError(f"from {start} to {limit} by {delta} are {count} values")
        steps = np.arange(max(0, count)).astype(inputs[0].dtype)
        values: np.ndarray = (inputs[0].reshape(-1)[0] + steps * inputs[2].reshape(-1)[0]).astype(inputs[0].dtype)
        return values

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        values = [spec.value for spec in inputs if spec.value is not None]
        if len(values) < len(inputs):
            raise GraphError("start, limit or delta is computed at run time; they must be constants")
        return [BlobSpec(self._values(values).shape, inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [self._values(inputs)]


@layer(308, "ConstantOfShape")
class ConstantOfShape(Movement):
    """A blob of the dims its input lists, filled with one value of the model file."""

    RESOURCE = (TensorField("value"),)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        if inputs[0].value is None:
            raise GraphError("the dims are computed at run time; they must be constants or follow from shapes")
        return [BlobSpec(self._dims(inputs[0].value), DataType.of(self.prepare(tensors, inputs)))]

    @staticmethod
    def _dims(value: np.ndarray) -> tuple[int, ...]:
        dims = checked_dims(integers(value))
        if np.prod(dims, dtype=np.float64) > _MAX_ELEMENTS:
            raise GraphError(f"the output would have the dims {dims}")
        return dims

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        if "value" not in tensors:
            return np.zeros(1, np.float32)
        if tensors["value"].size != 1:
            raise GraphError(f"its value has {tensors['value'].size} elements, expected 1")
        return tensors["value"].array().reshape(1)

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [np.full(self._dims(inputs[0]), state[0])]
