"""Comparisons and selection: Greater, Less, Equal, Where (docs/tnn-format.md, 4.4, 5.3, 9).

Output shapes align the inputs on the LEFT; the elements are then read aligned on the right, as in arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_same_type, check_types
from tnnquant.layers.elementwise import left_maximum, spread, stretched
from tnnquant.layers.fields import TensorField, param

__all__ = ["Equal", "Greater", "Less", "Where"]

_TYPES = (DataType.FLOAT, DataType.INT32, DataType.INT8)


class _Comparison(Layer):
    COMPARE: ClassVar[np.ufunc]

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 2)
        check_types(inputs, *_TYPES)
        check_same_type(inputs)
        return self

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(left_maximum([spec.dims for spec in inputs]), DataType.INT8)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        dims = left_maximum([x.shape for x in inputs])
        a, b = (stretched(x, dims) for x in inputs)
        return [spread(self.COMPARE(a, b).astype(np.int8), dims)]


@dataclass(frozen=True)
class _WithScalar(_Comparison):
    """A comparison that may have its second or first operand in the resource: its element 0, whatever its dims."""

    RESOURCE: ClassVar = (TensorField("element"),)

    weight_input_index: int = param("int", 1)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1, 2)
        if len(inputs) == 2:
            return super().resolved(inputs, tensors)
        check_types(inputs, *_TYPES)
        if "element" not in tensors or tensors["element"].size == 0:
            raise GraphError("has one input blob and no operand in the .tnnmodel (do the two files belong together?)")
        if self.weight_input_index not in (0, 1):
            raise GraphError(f"weight_input_index is {self.weight_input_index}, expected 0 or 1 with one input blob")
        return self

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> np.ndarray | None:
        if len(inputs) == 2:
            return None
        element: np.ndarray = tensors["element"].array().reshape(-1)[0].astype(inputs[0].dtype.numpy)
        return element

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        if state is None:
            return super().forward(inputs, state)
        a, b = (state, inputs[0]) if self.weight_input_index == 0 else (inputs[0], state)
        return [np.asarray(self.COMPARE(a, b), np.int8)]


@layer(333, "Greater")
class Greater(_WithScalar):
    """a > b, as INT8 0 or 1."""

    COMPARE = np.greater


@layer(334, "Less")
class Less(_WithScalar):
    """a < b, as INT8 0 or 1."""

    COMPARE = np.less


@layer(324, "Equal")
class Equal(_Comparison):
    """a == b, as INT8 0 or 1."""

    COMPARE = np.equal


@layer(325, "Where")
class Where(Layer):
    """The inputs are x, y, condition (INT8): x where the condition is not 0, else y."""

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 3)
        check_types(inputs[:2], DataType.FLOAT, DataType.INT32)
        check_same_type(inputs[:2])
        if inputs[2].dtype != DataType.INT8:
            raise GraphError(f"the condition is {inputs[2].dtype.name}, expected INT8")
        return self

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(left_maximum([spec.dims for spec in inputs]), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        dims = left_maximum([x.shape for x in inputs])
        x, y, condition = (stretched(v, dims) for v in inputs)
        return [spread(np.where(condition != 0, x, y), dims)]
