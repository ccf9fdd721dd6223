"""NonZero, OneHot, Histogram: from values to places and back (docs/tnn-format.md, 4.4, 5.4, 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import param
from tnnquant.layers.movement import Movement, axis_of, integers

__all__ = ["Histogram", "NonZero", "OneHot"]


@layer(309, "NonZero")
class NonZero(Movement):
    """The coordinates of the elements that are not zero: INT32 (rank, count), one row per axis.

    -0.0 counts as non-zero: TNN looks at the bytes. Of a constant of rank 2 or more TNN's coordinates come out
    scrambled, all rows written over one another; that is reproduced. At run time, where TNN crashes, they are right.
    """

    SELECTS = True

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec((len(inputs[0].dims), prod(inputs[0].dims)), DataType.INT32)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        return inputs[0].value is not None

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = np.ascontiguousarray(inputs[0]).reshape(inputs[0].shape)
        some_byte = x.reshape(-1, 1).view(np.uint8).any(axis=1).reshape(x.shape)
        places = np.stack(np.nonzero(some_byte)).astype(np.int32) if x.ndim else np.zeros((0, 1), np.int32)
        if not state or x.ndim < 2 or not places.size:
            return [places]
        scrambled = np.zeros(places.size, np.int32)
        count = places.shape[1]
        scrambled[:count] = places[0]
        scrambled[count : count + x.ndim - 1] = places[1:, -1]
        return [scrambled.reshape(places.shape)]


@layer(319, "OneHot")
class OneHot(Movement):
    """A new axis of ``depth``, ``value_on`` at the index, ``value_off`` elsewhere; inputs indices, depth, values.

    The depth comes from the second input where that is a constant, the values from the parameters, as in TNN.
    Negative indices count from the end; others outside leave ``value_off`` all along.
    """

    axis: int = param(default=-1)
    depth: int = param(default=-1)
    value_off: float = param("float", default=0.0)
    value_on: float = param("float", default=1.0)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        value = inputs[1].value if len(inputs) > 1 else None
        return replace(self, depth=integers(value)[0]) if value is not None and value.size == 1 else self

    def _dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        if self.depth < 1:
            raise GraphError(f"its depth is {self.depth}, expected 1 or more, as a parameter or a constant input")
        axis = axis_of(self.axis, len(dims) + 1)
        return (*dims[:axis], self.depth, *dims[axis:])

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(self._dims(inputs[0].dims), DataType.FLOAT)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        indices = inputs[0].astype(np.int64)
        dims = self._dims(indices.shape)
        axis = axis_of(self.axis, len(dims))
        wanted = np.expand_dims(np.where(indices < 0, indices + self.depth, indices), axis)
        places = np.arange(self.depth).reshape([-1 if i == axis else 1 for i in range(len(dims))])
        return [np.where(wanted == places, np.float32(self.value_on), np.float32(self.value_off))]


@layer(314, "Histogram")
class Histogram(Movement):
    """How often each of the integers 0 .. ``depth - 1`` occurs, INT32 (depth,); others are not counted."""

    depth: int = param(default=0)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        if self.depth < 1:
            raise GraphError(f"its depth is {self.depth}, expected 1 or more")
        return [BlobSpec((self.depth,), DataType.INT32)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        values = inputs[0].astype(np.int64).reshape(-1)
        values = values[(values >= 0) & (values < self.depth)]
        return [np.bincount(values, minlength=self.depth).astype(np.int32)]
