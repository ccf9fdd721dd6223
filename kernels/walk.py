"""How a blob's memory is walked to gather statistics: rows of adjacent values, whatever the layout. No Numba here.

Three forms: *rows*, channels-last pixels or vectors, possibly a slice of the channels of a wider array; *planes*, NCHW,
one task group per channel; *flat*, any dense blob that is one slot. Narrow rows that touch are joined to wider ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

__all__ = ["BINS", "BIN_STRIDE", "WALK_WORDS", "Walk", "histogram_walk", "range_walk", "walkable"]

#: Bins between 0 and the largest magnitude (docs/tnn-format.md, 7.6).
BINS = 2048
#: int32 of a slot's counts: the bins, one for values that are not counted, and 15 unused, so that the same bin of two
#: slots is not 2**k bytes apart, which would put both into the same cache set.
BIN_STRIDE = BINS + 16
#: int64 words of a Walk.
WALK_WORDS = 11

_CHUNK = 32768  # values of a task, about: small enough to stay in the second-level cache
_FLAT_WIDTH = 64
_CHUNKS = 8  # most parts of a blob that has too few channels to give every thread some
_COPIES = 4  # histograms of a part, in turn: equal neighbours would otherwise wait for each other
_BLOCK = 16  # channels a task counts: their hot bins stay in the first-level cache


@dataclass(frozen=True)
class Walk:
    """Where tasks find the values of a blob.

    Task t walks chunk ``t % chunks`` of group ``t // chunks``.

    Attributes
    ----------
    groups, group_step : int
        Parts with columns of their own, and the bytes from one to the next.
    repeats, repeat_step : int
        How often a group's rows recur (batch items), and the bytes from one to the next.
    rows, row_step : int
        Rows of a group, and the bytes from one to the next.
    width, last_width : int
        Columns of a row; of a row of the last group.
    tail : int
        Values after the last row: a row that is not full.
    chunk_rows, chunks : int
        Rows per task, tasks per group.
    """

    groups: int
    group_step: int
    repeats: int
    repeat_step: int
    rows: int
    row_step: int
    width: int
    last_width: int
    tail: int
    chunk_rows: int
    chunks: int

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return self.groups * self.chunks

    @property
    def columns(self) -> int:
        """Columns of the widest row."""
        return max(self.width, self.last_width)

    @property
    def words(self) -> list[int]:
        """The fields in the order the kernels read them."""
        return [
            self.groups, self.group_step, self.repeats, self.repeat_step, self.rows, self.row_step, self.width,
            self.last_width, self.tail, self.chunk_rows, self.chunks,
        ]  # fmt: skip


def _rows_of(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int] | None:
    """Number of rows and bytes between them, if the axes but the second are one axis of rows of adjacent channels."""
    if shape[1] > 1 and strides[1] != 4:
        return None
    count, step = 1, None
    for size, stride in reversed([(n, s) for i, (n, s) in enumerate(zip(shape, strides, strict=True)) if i != 1]):
        if size == 1:
            continue
        if step is None:
            step = stride
        elif stride != step * count:
            return None
        count *= size
    step = 4 * shape[1] if step is None else step
    return (count, step) if step >= 4 * shape[1] else None


def _form(x: np.ndarray, slots: int) -> tuple[str, int, int]:
    """("flat", values, 4), ("rows", rows, bytes between them), ("planes", values of a plane, 4) or ("", 0, 0)."""
    rows = _rows_of(x.shape, x.strides)
    dense = x.flags.c_contiguous or (rows is not None and rows[1] == 4 * x.shape[1])
    if slots == 1 and dense:
        return "flat", x.size, 4
    if rows is not None:
        return "rows", *rows
    return ("planes", prod(x.shape[2:]), 4) if x.flags.c_contiguous else ("", 0, 0)


def walkable(x: np.ndarray, slots: int) -> bool:
    """Whether the memory of float32 ``x`` (N, C, ...) can be walked in place."""
    return _form(x, slots)[0] != ""


def range_walk(x: np.ndarray, slots: int) -> tuple[Walk, np.ndarray]:
    """The walk for ranges and sums, and the slot of every column.

    Parameters
    ----------
    x : float32 (N, C, ...)
        Logical shape, rank 2 or more; :func:`walkable`.
    slots : int
        1, or C.

    Returns
    -------
    walk : Walk
    slot : int64 (walk.groups, walk.columns)
    """
    form, count, step = _form(x, slots)
    images, channels = x.shape[:2]
    if form == "flat":
        return _cut(1, 0, 1, 0, count, _FLAT_WIDTH), np.zeros((1, _FLAT_WIDTH), np.int64)
    if form == "planes":
        walk = _cut(channels, 4 * count, images, 4 * count * channels, count, _FLAT_WIDTH, chunks=1)
        return walk, np.repeat(np.arange(channels), _FLAT_WIDTH).reshape(channels, -1)
    joined = -(-_FLAT_WIDTH // channels) if step == 4 * channels else 1
    width = joined * channels
    chunk_rows = max(1, _CHUNK // width)
    rows = count // joined
    walk = Walk(1, 0, 1, 0, rows, joined * step, width, width, count % joined * channels, chunk_rows,
                max(1, -(-rows // chunk_rows)))  # fmt: skip
    return walk, np.tile(np.arange(channels) % slots, joined)[None]


def histogram_walk(x: np.ndarray, slots: int) -> tuple[Walk, np.ndarray, int]:
    """The walk for histograms, the histogram of every column, and the number of histograms of a chunk.

    Parameters
    ----------
    x, slots
        As for :func:`range_walk`.

    Returns
    -------
    walk : Walk
    histogram : int64 (walk.groups, walk.columns)
        Slot s has histograms ``s * copies .. s * copies + copies - 1``.
    copies : int
        Histograms of a slot.
    """
    form, count, step = _form(x, slots)
    images, channels = x.shape[:2]
    turns = np.arange(_BLOCK) % _COPIES
    if form == "flat":
        chunks = max(1, min(_CHUNKS, count // _CHUNK))
        return _cut(1, 0, 1, 0, count, _BLOCK, chunks=chunks), turns[None], _COPIES
    if form == "planes":
        copies = _COPIES if channels <= 16 else 1
        walk = _cut(channels, 4 * count, images, 4 * count * channels, count, _BLOCK, chunks=1)
        return walk, np.arange(channels)[:, None] * copies + turns % copies, copies
    if slots == 1:
        chunks = max(1, min(_CHUNKS, count * channels // _CHUNK))
        walk = Walk(1, 0, 1, 0, count, step, channels, channels, 0, *_chunked(count, chunks))
        return walk, (np.arange(channels) % _COPIES)[None], _COPIES
    groups = max(1, channels // _BLOCK)
    chunks = max(1, min(-(-_COPIES // groups), count * channels // _CHUNK))
    last = channels - (groups - 1) * _BLOCK
    width = min(_BLOCK, last)
    walk = Walk(groups, 4 * _BLOCK, 1, 0, count, step, width, last, 0, *_chunked(count, chunks))
    histogram = np.arange(groups)[:, None] * _BLOCK + np.arange(walk.columns)
    return walk, np.minimum(histogram, channels - 1), 1


def _chunked(rows: int, chunks: int) -> tuple[int, int]:
    """Rows per task, and tasks, for about ``chunks`` tasks."""
    chunk_rows = max(1, -(-rows // chunks))
    return chunk_rows, max(1, -(-rows // chunk_rows))


def _cut(
    groups: int, group_step: int, repeats: int, repeat_step: int, count: int, width: int, chunks: int | None = None
) -> Walk:
    """A walk over dense lines of ``count`` values, cut into rows."""
    rows = count // width
    chunks = max(1, -(-count // _CHUNK)) if chunks is None else chunks
    return Walk(groups, group_step, repeats, repeat_step, rows, 4 * width, width, width, count % width,
                *_chunked(rows, chunks))  # fmt: skip
