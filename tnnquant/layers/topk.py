"""ArgMaxOrMin and TopK: the largest or smallest elements of an axis (docs/tnn-format.md, 4.4, 5.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import param
from tnnquant.layers.movement import Movement, axis_of, contiguous, integers

__all__ = ["ArgMaxOrMin", "TopK"]


@layer(199, "ArgMaxOrMin")
class ArgMaxOrMin(Movement):
    """The index of the first maximum (``mode`` not 0) or minimum (0) along ``axis``, INT32.

    ``select_last_index`` is ignored, as in TNN. NaN is never larger or smaller: it wins only at index 0.
    """

    mode: int = param()
    axis: int = param()
    keep_dims: int = param(default=1)
    select_last_index: int = param(default=0)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        return replace(self, axis=axis_of(self.axis, len(inputs[0].dims)))

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        dims = inputs[0].dims
        axis = axis_of(self.axis, len(dims))
        kept = (1,) if self.keep_dims else ()
        return [BlobSpec((*dims[:axis], *kept, *dims[axis + 1 :]), DataType.INT32)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        axis = axis_of(self.axis, x.ndim)
        largest = self.mode != 0
        nan = np.isnan(x) if x.dtype.kind == "f" else np.zeros((1,) * x.ndim, bool)
        x = np.where(nan, -np.inf if largest else np.inf, x) if nan.any() else x
        places = (x.argmax if largest else x.argmin)(axis=axis, keepdims=True)
        if nan.any():
            places = np.where(nan.take([0], axis=axis), 0, places)
        return [(places if self.keep_dims else places.squeeze(axis)).astype(np.int32)]


@layer(328, "TopK")
class TopK(Movement):
    """The ``k`` largest or smallest elements along ``axis``, best first, and their indices (INT32).

    Not ``sorted``: worst first, the order in which TNN empties its heap. Of equal elements the one with the lower index
    is better (TNN leaves that open). ``k`` may come from the second input.
    """

    SELECTS = True

    axis: int = param(default=-1)
    largest: int = param(default=1)
    sorted: int = param(default=1)
    k: int = param(default=-1)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        filled = self._filled(inputs[1].value if len(inputs) > 1 else None)
        return replace(filled, axis=axis_of(self.axis, len(inputs[0].dims)))

    def _filled(self, value: np.ndarray | None) -> Self:
        if value is None:
            return self
        if value.size != 1:
            raise GraphError(f"its second input, k, has {value.size} elements, expected 1")
        return replace(self, k=integers(value)[0])

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        if self.k < 1:
            raise GraphError(f"its k is {self.k}, expected 1 or more, as a parameter or a constant input")
        dims = list(inputs[0].dims)
        dims[self.axis] = min(self.k, dims[self.axis])
        return [BlobSpec(tuple(dims), inputs[0].dtype), BlobSpec(tuple(dims), DataType.INT32)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        layer = self._filled(inputs[1] if len(inputs) > 1 else None)
        axis = axis_of(self.axis, x.ndim)
        k = min(layer.k, x.shape[axis])
        if k < 1:
            raise GraphError(f"its k is {layer.k}, expected 1 or more")
        rows = contiguous(np.moveaxis(x, axis, -1))
        keys = rows if not self.largest else -rows if rows.dtype.kind == "f" else -rows.astype(np.int64)
        places = np.argsort(keys, axis=-1, kind="stable")[..., :k]
        if not self.sorted:
            places = places[..., ::-1]
        values = np.take_along_axis(rows, places, axis=-1)
        return [np.moveaxis(values, -1, axis), np.moveaxis(places.astype(np.int32), -1, axis)]
