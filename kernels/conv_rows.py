"""What the fp32 and the int8 implicit GEMM share: tables of addresses, and how work is cut into tasks."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from tnnquant.kernels.jit import kernel
from tnnquant.kernels.program import thread_count
from tnnquant.kernels.simd import load_word, store_word

__all__ = ["Work", "cut_by_rows", "cut_into_tasks", "fill_rows", "fill_taps", "next_tiles", "rows_a_task"]

# Bytes of input that a task works on at a time: they stay in a second-level cache beside the weights of a panel.
_BAND_BYTES = 256 * 1024
# Multiply-adds in the time of reading a byte that is not in the first-level cache (some 16 a cycle, some 8 bytes).
_MACS_A_BYTE = 2


@kernel
def fill_taps(table, kernel_h, kernel_w, step_h, step_w, fused, start, repeat):
    """Byte offsets of a kernel's taps from a row's first, as int64 at the address ``table``; ``repeat`` times in a row.

    Fused: one tap per kernel row. ``start`` is the offset of the first channel of the group.
    """
    at = table
    for _ in range(repeat):
        for kh in range(kernel_h):
            if fused:
                store_word(at, start + kh * step_h)
                at += 8
            else:
                for kw in range(kernel_w):
                    store_word(at, start + kh * step_h + kw * step_w)
                    at += 8


@kernel
def fill_rows(table, origin, column, out_width, count, row_step, column_step, extra):
    """Address of every output position's first tap, as int64 at ``table``; the last one ``extra`` times more.

    Positions run from (0, column) along rows of ``out_width``; ``origin`` is the address of (0, 0).
    """
    at = table
    y = origin
    while count > 0:
        # A whole run of equal steps, which the compiler can take several at a time.
        run = min(count, out_width - column)
        first = y + column * column_step
        for i in range(run):
            store_word(at + 8 * i, first + i * column_step)
        at += 8 * run
        count -= run
        column = np.int64(0)
        y += row_step
    last = load_word(at - 8)
    for _ in range(extra):
        store_word(at, last)
        at += 8


@kernel
def next_tiles(i, count, full, middle, overlap):
    """Which tiles compute the positions from ``i`` on, of ``count``: full ones as long as there are enough positions,
    then the smallest that covers the rest. All int64.

    With ``overlap`` the last one reaches back over positions that have been computed, if it can, so that all of its
    rows exist; without, it is one tile at a time.

    Returns
    -------
    start, positions, tiles, is_middle : int64
        The first position and how many there are from it on in all ``tiles``; whether those are middle ones.
    """
    left = count - i
    one, none = np.int64(1), np.int64(0)
    if left >= full:
        tiles = left // full if overlap else one
        return i, tiles * full, tiles, none
    if left > middle and (count >= full or not overlap):
        return (count - full, full, one, none) if overlap else (i, left, one, none)
    if left >= middle:
        return i, middle, one, one
    return (count - middle, middle, one, one) if overlap and count >= middle else (i, left, one, one)


class Work(NamedTuple):
    """What there is to cut: images x pixels output positions, times panels of weights.

    ``macs`` is the work in multiply-adds; ``pixel_bytes`` of input are new with every position, ``weight_bytes`` are
    all weights; ``copies``: a task first copies or converts the input it reads; ``whole_rows``: it takes whole rows of
    ``out_width`` positions; ``band_bytes`` of input are worked on at a time.
    """

    images: int
    pixels: int
    out_width: int
    macs: int
    pixel_bytes: int
    weight_bytes: int
    panels: int
    copies: bool
    whole_rows: bool
    band_bytes: int = _BAND_BYTES


def _block_size(work: Work, blocks: int, tile_rows: int) -> int:
    """Positions of one of about ``blocks`` blocks: whole tiles, whole rows where needed."""
    unit = work.out_width if work.whole_rows else tile_rows
    units = -(-work.pixels // unit)
    return min(-(-units // blocks) * unit, work.pixels)


def _makespan(work: Work, block: int, panel_blocks: int, threads: int) -> float:
    """When the last thread is done, as a share of all the work, if threads take tasks in order as they get free."""
    blocks = -(-work.pixels // block)
    busy = [0] * threads
    for index in range(work.images * blocks):
        positions = min(block, work.pixels - index % blocks * block)
        for split in range(panel_blocks):
            panels = work.panels * (split + 1) // panel_blocks - work.panels * split // panel_blocks
            busy[busy.index(min(busy))] += positions * panels
    return max(busy) / (work.images * work.pixels * work.panels)


@functools.lru_cache(4096)
def _cut(work: Work, tile_rows: int, threads: int) -> tuple[int, int, int]:
    # Input that a task works on stays in a second-level cache beside the weights of a panel.
    fewest = max(1, round(work.pixels * work.pixel_bytes / work.band_bytes))
    wanted = 1 if threads == 1 else 3 * threads
    input_bytes = work.images * work.pixels * work.pixel_bytes * (3 if work.copies else 1)
    best, chosen = None, None
    for panel_blocks in range(1, min(work.panels, wanted) + 1):
        for blocks in range(fewest, fewest + max(1, wanted // work.images)):
            block = _block_size(work, blocks, tile_rows)
            blocks = -(-work.pixels // block)
            if blocks * work.images * panel_blocks > 2 * max(wanted, fewest * work.images):
                break
            traffic = panel_blocks * input_bytes + blocks * work.images * work.weight_bytes
            share = _makespan(work, block, panel_blocks, threads)
            if threads > 1:
                # A thread that is held up delays the others by part of a task.
                share += 0.2 * block * -(-work.panels // panel_blocks) / (work.images * work.pixels * work.panels)
            time = share * work.macs / _MACS_A_BYTE + traffic / threads
            if best is None or time < best:
                best, chosen = time, (block, blocks, panel_blocks)
    assert chosen is not None  # the first is always looked at
    return chosen


def cut_into_tasks(work: Work, tile_rows: int) -> tuple[int, int, int]:
    """Cut a convolution into blocks of positions x blocks of panels.

    A block of positions reads all its weights, a block of panels all its input; of a few ways to cut, the one is taken
    whose slowest thread should be done first. Results do not depend on any of this.

    Returns
    -------
    block, blocks, panel_blocks : int
        Positions of a block, blocks per image, blocks of panels.
    """
    threads = thread_count()
    if work.images * work.pixels == 1:
        # A single row takes four panels at a time.
        return 1, 1, max(1, min(work.panels // 4, 1 if threads == 1 else 2 * threads))
    return _cut(work, tile_rows, threads)


def cut_by_rows(images: int, rows: int, panels: int, together: int) -> tuple[int, int, int, int]:
    """Cut a depthwise convolution of images into blocks of panels of channels x bands of output rows of each.

    At most ``together`` panels fit the nearest caches. One thread takes all rows at once, more a band each, which
    overlaps its neighbours by the size of the kernel; where the rows are few, blocks of channels are shared out.

    Returns
    -------
    block, blocks, band_rows, bands : int
        Panels of a block (the last one may have fewer), blocks, rows of a band, bands.
    """
    threads = thread_count()
    blocks, bands = -(-panels // together), 1
    if threads > 1:
        if images * rows >= 4 * threads:
            bands = min(rows, -(-(threads if blocks > 1 else 2 * threads) // images))
        else:
            blocks = min(panels, -(-blocks // (2 * threads)) * 2 * threads)
    block = -(-panels // blocks)
    band_rows = -(-rows // bands)
    return block, -(-panels // block), band_rows, -(-rows // band_rows)


def rows_a_task(rows: int) -> int:
    """How many rows of an image one task takes: all on one thread, else fewer, so that each thread gets some."""
    threads = thread_count()
    return rows if threads == 1 else -(-rows // (4 * threads))
