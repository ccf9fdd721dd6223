"""StridedSlice and StridedSliceV2: regular cuts out of a blob (docs/tnn-format.md, 4.4, 5.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import param
from tnnquant.layers.movement import INT_MAX, INT_MIN, CopyLayer, Pairs, axis_of, carried_dtype, integers, owned, text

__all__ = ["StridedSlice", "StridedSliceV2"]


@layer(57, "StridedSlice", "StridedSlice_nhwc")
class StridedSlice(CopyLayer):
    """``x[begin:end:stride]`` on every axis; an end of 0 is the end of the axis.

    With a second input, the cut has that blob's dims and starts at ``begins``.
    """

    ANY_LAYOUT = True

    begins: tuple = param("ints")
    ends: tuple = param("ints")
    strides: tuple = param("ints")

    def _cuts(self, dims: tuple[int, ...], like: tuple[int, ...] | None) -> tuple[slice, ...]:
        if not len(self.begins) == len(self.ends) == len(self.strides) == len(dims):
            raise GraphError(
                f"has {len(self.begins)} begins, {len(self.ends)} ends, {len(self.strides)} strides, expected "
                f"{len(dims)} of each for a blob of dims {text(dims)}"
            )
        if like is not None and len(like) != len(dims):
            raise GraphError(f"cuts {text(dims)} to the size of {text(like)}: the ranks differ")
        cuts = []
        for axis, size in enumerate(dims):
            begin = self.begins[axis] + size if self.begins[axis] < 0 else self.begins[axis]
            end = self.ends[axis] + size if self.ends[axis] <= 0 else self.ends[axis]
            if like is not None:
                end = begin + like[axis]
            end, stride = min(end, size), self.strides[axis]
            if not 0 <= begin < end or stride < 1:
                raise GraphError(
                    f"the cut {self.begins[axis]}:{self.ends[axis]}:{stride} of axis {axis} of {text(dims)} is "
                    "empty or runs backwards"
                )
            cuts.append(slice(begin, end, stride))
        return tuple(cuts)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        dims = inputs[0].dims
        cuts = self._cuts(dims, inputs[1].dims if len(inputs) > 1 else None)
        out = tuple(len(range(*cut.indices(size))) for cut, size in zip(cuts, dims, strict=True))
        return [BlobSpec(out, carried_dtype(inputs))]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [owned(self._cut(inputs), inputs)]

    def _cut(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return inputs[0][self._cuts(inputs[0].shape, inputs[1].shape if len(inputs) > 1 else None)]

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return [(self._cut(inputs), outputs[0])]


@layer(306, "StridedSliceV2")
class StridedSliceV2(CopyLayer):
    """``x[begin:end:stride]`` on the listed axes; begins, ends, axes, strides may come as inputs 1 to 4.

    A cut with a negative stride may reach index 0: its end is then kept as INT_MIN. (TNN stores -1, reads that as the
    last index when it looks again, and fails.) Axes may stand in any order.
    """

    ANY_LAYOUT = True

    begins: tuple = param("ints")
    ends: tuple = param("ints")
    axes: tuple = param("ints")
    strides: tuple = param("ints")

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        return self._filled([spec.value for spec in inputs[1:]])._absolute(inputs[0].dims)

    def _filled(self, values: Sequence[np.ndarray | None]) -> Self:
        names = ("begins", "ends", "axes", "strides")
        given = {name: integers(v) for name, v in zip(names, values, strict=False) if v is not None and v.size}
        filled = replace(self, **given) if given else self
        count = len(filled.begins)
        if given and not filled.axes:
            filled = replace(filled, axes=tuple(range(count)))
        if given and not filled.strides:
            filled = replace(filled, strides=(1,) * count)
        return filled

    def _absolute(self, dims: tuple[int, ...]) -> Self:
        lengths = {len(self.begins), len(self.ends), len(self.axes), len(self.strides)}
        axes = [axis_of(axis, len(dims)) for axis in self.axes]
        if len(lengths) > 1 or len(set(axes)) < len(axes):
            raise GraphError(
                f"begins {list(self.begins)}, ends {list(self.ends)}, axes {list(self.axes)}, strides "
                f"{list(self.strides)}: expected as many of each, and no axis twice"
            )
        cuts = [
            _absolute_cut(begin, end, stride, dims[axis])
            for begin, end, stride, axis in zip(self.begins, self.ends, self.strides, axes, strict=True)
        ]
        return replace(self, begins=tuple(b for b, _ in cuts), ends=tuple(e for _, e in cuts))

    def _cuts(self, dims: tuple[int, ...]) -> tuple[slice, ...]:
        absolute = self._absolute(dims)
        cuts = [slice(None)] * len(dims)
        for begin, end, axis, stride in zip(absolute.begins, absolute.ends, self.axes, self.strides, strict=True):
            cuts[axis] = slice(begin, None if end == INT_MIN else end, stride)
            if not range(*cuts[axis].indices(dims[axis])):
                raise GraphError(f"the cut {begin}:{end}:{stride} of axis {axis} of {text(dims)} is empty")
        return tuple(cuts)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        if any(spec.value is None for spec in inputs[1:5]) and not self.begins:
            raise GraphError("begins and ends are computed at run time; they must be constants")
        dims = inputs[0].dims
        out = tuple(len(range(*cut.indices(size))) for cut, size in zip(self._cuts(dims), dims, strict=True))
        return [BlobSpec(out, carried_dtype(inputs))]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [owned(self._cut(inputs), inputs)]

    def _cut(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return inputs[0][self._filled(inputs[1:])._cuts(inputs[0].shape)]

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return [(self._cut(inputs), outputs[0])]


def _absolute_cut(begin: int, end: int, stride: int, size: int) -> tuple[int, int]:
    """Begin and end counted from the front, within the axis; INT_MIN: below index 0, for a negative stride."""
    if stride == 0:
        raise GraphError("a stride is 0")
    begin = begin + size if begin < 0 else begin
    begin = max(0, min(begin, size if stride > 0 else size - 1))
    if end == INT_MAX or end > size:
        return begin, size
    if end < 0 and end != INT_MIN:
        end += size
    if end < 0:
        end = 0 if stride > 0 else INT_MIN
    return begin, end
