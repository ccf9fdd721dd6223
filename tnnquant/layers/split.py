"""SplitV and Split: one blob into several (docs/tnn-format.md, 4.4, 5.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.fields import param
from tnnquant.layers.movement import CopyLayer, Pairs, axis_of, text

__all__ = ["Split", "SplitV"]


@layer(153, "SplitV")
class SplitV(CopyLayer):
    """Cut along ``axis`` into pieces of the sizes ``slices``; without sizes, into equal pieces.

    The pieces are views of the input.
    """

    axis: int = param(default=0)
    slices: tuple = param("ints", default=())

    def with_outputs(self, count: int) -> Self:
        """The layer for ``count`` outputs: without sizes, all of them equal (-1 until the dims are known)."""
        return self if self.slices else replace(self, slices=(-1,) * count)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        dims = inputs[0].dims
        axis = axis_of(self.axis, len(dims))
        slices = self.slices
        if slices and set(slices) == {-1}:
            if dims[axis] % len(slices):
                raise GraphError(f"axis {axis} of {text(dims)} cannot be cut into {len(slices)} equal pieces")
            slices = (dims[axis] // len(slices),) * len(slices)
        return replace(self, axis=axis, slices=slices)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        dims, axis = inputs[0].dims, self.axis
        if any(size < 0 for size in self.slices) or sum(self.slices) != dims[axis]:
            raise GraphError(f"the sizes {list(self.slices)} do not add up to dim {axis} of {text(dims)}")
        return [BlobSpec((*dims[:axis], size, *dims[axis + 1 :]), inputs[0].dtype) for size in self.slices]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        pieces, start = [], 0
        for size in self.slices:
            pieces.append(inputs[0][(slice(None),) * self.axis + (slice(start, start + size),)])
            start += size
        return pieces

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return list(zip(self.forward(inputs, state), outputs, strict=False))


@layer(7, "Split")
class Split(Layer):
    """Every output is the input."""

    WHY_NOT = "TNN's CPU device has no kernel for Split; give its consumers the blob itself, or use SplitV"

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(inputs[0].dims, inputs[0].dtype)]
