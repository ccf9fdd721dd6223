"""Pad and PadV2: a border around a blob (docs/tnn-format.md, 4.4, 5.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import param, parse_int
from tnnquant.layers.movement import (
    INT_MIN,
    CopyLayer,
    Pairs,
    carried_dtype,
    checked_dims,
    copy_all,
    empty_blob,
    integers,
    is_channels_last,
    owned,
    text,
)

__all__ = ["Pad", "PadV2"]

CONSTANT, REFLECT, EDGE = 0, 1, 2


@layer(44, "Pad")
class Pad(CopyLayer):
    """A border in height, width and channels; ``mode`` 0 constant, 1 reflect, 2 edge.

    Reflection does not repeat the edge. Negative sizes cut. (TNN stops at mode 2; here it repeats the edge.)
    """

    ignored_begin: int = param(default=0)
    ignored_end: int = param(default=0)
    top: int = param(default=INT_MIN)
    bottom: int = param(default=INT_MIN)
    left: int = param(default=INT_MIN)
    right: int = param(default=INT_MIN)
    channel_begin: int = param(default=INT_MIN)
    channel_end: int = param(default=INT_MIN)
    mode: int = param(default=0)
    value: float = param("float", default=0.0)

    def _borders(self, dims: tuple[int, ...]) -> list[tuple[int, int]]:
        if len(dims) != 4:
            raise UnsupportedLayerError(f"Pad of a blob of dims {text(dims)}: TNN pads rank 4 only; use PadV2")
        sizes = (self.channel_begin, self.channel_end, self.top, self.bottom, self.left, self.right)
        c0, c1, top, bottom, left, right = (0 if size == INT_MIN else size for size in sizes)
        return [(0, 0), (c0, c1), (top, bottom), (left, right)]

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        dims = inputs[0].dims
        return [BlobSpec(padded_dims(dims, self._borders(dims), self.mode), inputs[0].dtype)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        return _filling(self.value, inputs[0].dtype)

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [padded(inputs[0], self._borders(inputs[0].shape), self.mode, state)]

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return border_copies(inputs[0], self._borders(inputs[0].shape), self.mode, state, outputs[0])


@layer(316, "PadV2")
class PadV2(CopyLayer):
    """A border on the first axes: all begins, then all ends; ``mode`` 0 constant, 1 reflect, 2 edge.

    A constant second input holds the sizes instead. Modes as for :class:`Pad`.
    """

    pads: tuple = param("ints", default=())
    mode: int = param(default=0)
    value: float = param("float", default=0.0)

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Self:
        """The first token counts axes, twice as many sizes follow."""
        if tokens:
            count = parse_int(tokens[0], "the count of parameter 'pads'")
            return super().parse([str(2 * count), *tokens[1:]])
        return super().parse(tokens)

    def tokens(self) -> list[str]:
        tokens = super().tokens()
        return [str(len(self.pads) // 2), *tokens[1:]]

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        return self._filled(inputs[1].value if len(inputs) > 1 else None)

    def _filled(self, value: np.ndarray | None) -> Self:
        return self if value is None else replace(self, pads=integers(value))

    def _borders(self, dims: tuple[int, ...]) -> list[tuple[int, int]]:
        count = len(self.pads) // 2
        if len(self.pads) % 2:
            raise GraphError(f"has {len(self.pads)} sizes, expected a begin and an end for each axis")
        borders = list(zip(self.pads[:count], self.pads[count:], strict=True))[: len(dims)]
        return borders + [(0, 0)] * (len(dims) - len(borders))

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        if len(inputs) > 1 and inputs[1].value is None and not self.pads:
            raise GraphError("the sizes of the border are computed at run time; they must be constants")
        dims = inputs[0].dims
        return [BlobSpec(padded_dims(dims, self._borders(dims), self.mode), carried_dtype(inputs))]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        return _filling(self.value, carried_dtype(inputs))

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        borders = self._filled(inputs[1] if len(inputs) > 1 else None)._borders(x.shape)
        return [owned(padded(x, borders, self.mode, state), inputs)]

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return border_copies(inputs[0], self._borders(inputs[0].shape), self.mode, state, outputs[0])


def padded_dims(dims: tuple[int, ...], borders: Sequence[tuple[int, int]], mode: int) -> tuple[int, ...]:
    """Dims with the borders; a reflected border must be narrower than the blob."""
    if mode not in (CONSTANT, REFLECT, EDGE):
        raise UnsupportedLayerError(f"pad type is {mode}, expected 0 (constant), 1 (reflect) or 2 (edge)")
    for axis, (size, (begin, end)) in enumerate(zip(dims, borders, strict=True)):
        kept = size + min(begin, 0) + min(end, 0)
        limit = kept - 1 if mode == REFLECT else kept if mode == EDGE and kept == 0 else None
        if kept < 0 or (limit is not None and max(begin, end, 0) > limit):
            raise GraphError(f"cannot pad axis {axis} of {text(dims)} by {begin} and {end} with pad type {mode}")
    return checked_dims(size + begin + end for size, (begin, end) in zip(dims, borders, strict=True))


def _filling(value: float, dtype: DataType) -> np.ndarray:
    """The constant of a border as an array of one element of the blob's type.

    In INT32 blobs it is the bits of the float32: TNN's kernel takes all four-byte types for floats.
    """
    if dtype.numpy.itemsize == 4:
        return np.array([value], np.float32).view(dtype.numpy)
    return np.array([value]).astype(dtype.numpy)


def padded(x: np.ndarray, borders: Sequence[tuple[int, int]], mode: int, value: np.ndarray) -> np.ndarray:
    """``x`` with a border, in its own memory layout."""
    dims = padded_dims(x.shape, borders, mode)
    if not any(any(border) for border in borders):
        return x
    out = empty_blob(dims, x.dtype, last=is_channels_last(x))
    copy_all(border_copies(x, borders, mode, value, out))
    return out


def border_copies(
    x: np.ndarray, borders: Sequence[tuple[int, int]], mode: int, value: np.ndarray, out: np.ndarray
) -> Pairs:
    """The copies that make ``out``: the inside, then the borders, axes from the last to the first, as TNN mirrors."""
    cut = [slice(max(-b, 0), size - max(-e, 0)) for size, (b, e) in zip(x.shape, borders, strict=True)]
    x = x[tuple(cut)]
    borders = [(max(b, 0), max(e, 0)) for b, e in borders]
    region = [slice(b, b + size) for size, (b, _) in zip(x.shape, borders, strict=True)]
    pairs = [(x, out[tuple(region)])]
    for axis in reversed(range(x.ndim)):
        # The axes after this one are complete, those before it hold the inside only.
        for position, mirrored in _mirror(*borders[axis], out.shape[axis], mode):
            target = out[(*region[:axis], position, *region[axis + 1 :])]
            if mode == CONSTANT:
                source = np.broadcast_to(value, target.shape)
            else:
                source = np.broadcast_to(out[(*region[:axis], mirrored, *region[axis + 1 :])], target.shape)
            pairs.append((source, target))
        region[axis] = slice(None)
    return pairs


def _mirror(begin: int, end: int, size: int, mode: int) -> list[tuple[slice, slice]]:
    """The borders of an axis of ``size`` with the borders, and what they repeat."""
    last = size - end - 1
    pairs = []
    if begin:
        source = slice(begin, begin + 1) if mode == EDGE else slice(2 * begin, begin, -1)
        pairs.append((slice(0, begin), source))
    if end:
        stop = last - 1 - end
        source = slice(last, last + 1) if mode == EDGE else slice(last - 1, None if stop < 0 else stop, -1)
        pairs.append((slice(size - end, size), source))
    return pairs

