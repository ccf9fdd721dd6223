"""Reshape and Flatten: the same elements under other dims (docs/tnn-format.md, 4.4, 5.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import param
from tnnquant.layers.movement import (
    CopyLayer,
    Pairs,
    Relabeling,
    carried_dtype,
    integers,
    owned,
    reshaped,
    reshaping,
    text,
)

__all__ = ["Flatten", "Reshape"]


@layer(9, "Reshape", "QuantizedReshape", "QuantizedReshapeTensorflow")
class Reshape(CopyLayer):
    """New dims for the axes ``axis`` .. ``axis + num_axes``; 0 keeps a dim, one -1 is inferred.

    A second input holds the shape instead. ``reshape_type`` 1 (TensorFlow) takes and lays the elements in NHWC order.
    """

    ANY_LAYOUT = True

    axis: int = param(default=0)
    num_axes: int = param(default=0)
    shape: tuple = param("ints", default=())
    reshape_type: int = param(default=0)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        return self._filled(inputs[1].value if len(inputs) > 1 else None)

    def _filled(self, value: np.ndarray | None) -> Self:
        if value is not None:
            shape = integers(value)
            return replace(self, shape=shape, num_axes=len(shape))
        return replace(self, num_axes=len(self.shape)) if self.num_axes == -1 else self

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        if len(inputs) > 1 and inputs[1].value is None and not self.shape:
            raise GraphError(
                "the shape is computed at run time; it must be a constant, or follow from shapes alone in a model with "
                "a Shape layer"
            )
        return [BlobSpec(self._dims(inputs[0].dims), carried_dtype(inputs))]

    def _dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        if not 0 <= self.axis <= len(dims) or not 0 <= self.num_axes <= len(self.shape):
            raise GraphError(
                f"axis is {self.axis}, num_axes {self.num_axes}, shape {list(self.shape)}: they do not fit a blob of "
                f"dims {text(dims)}"
            )
        out = list(dims[: self.axis]) + [1] * len(self.shape)
        inferred = None
        for position, entry in enumerate(self.shape[: self.num_axes], start=self.axis):
            if entry == -1 and inferred is None:
                inferred = position
            elif entry == 0 and position < len(dims):
                out[position] = dims[position]
            elif entry > 0:
                out[position] = entry
            else:
                raise GraphError(f"the shape {list(self.shape)} does not fit a blob of dims {text(dims)}")
        if inferred is not None:
            out[inferred] = prod(dims) // (prod(out) or 1)
        if prod(out) != prod(dims):
            raise GraphError(
                f"cannot reshape {text(dims)} ({prod(dims)} elements) to {text(out)} ({prod(out)}): axis "
                f"{self.axis}, shape {list(self.shape)}"
            )
        if self.reshape_type == 1 and max(len(out), len(dims)) > 4:
            raise UnsupportedLayerError(f"reshape_type 1 takes at most 4 dims: {text(dims)} to {text(out)}")
        return tuple(out)

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        dims = self._filled(inputs[1] if len(inputs) > 1 else None)._dims(x.shape)
        if self.reshape_type != 1:
            return [owned(reshaped(x, dims), inputs)]
        elements = x.reshape(_rank4(x.shape)).transpose(0, 2, 3, 1)
        n, c, h, w = _rank4(dims)
        out = reshaped(elements, (n, h, w, c)).transpose(0, 3, 1, 2).reshape(dims)
        return [out.copy() if np.may_share_memory(out, x) else out]  # it has no program: see CopyLayer

    def relabels(self) -> bool:
        return self.reshape_type != 1

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return reshaping(inputs[0], outputs[0]) if self.relabels() else None


def _rank4(dims: tuple[int, ...]) -> tuple[int, ...]:
    return (*dims, *(1,) * (4 - len(dims)))


@layer(10, "Flatten", "Flatten_nhwc")
class Flatten(Relabeling):
    """Two dims: the product of those before ``axis``, the product of the rest."""

    ANY_LAYOUT = True

    axis: int = param()

    def dims_of(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        axis = self.axis + len(dims) if self.axis < 0 else self.axis
        if not 0 <= axis <= len(dims):
            raise GraphError(f"axis is {self.axis}, expected 0 to {len(dims)} for a blob of dims {text(dims)}")
        return prod(dims[:axis]), prod(dims[axis:])
