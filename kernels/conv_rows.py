"""What the fp32 and the int8 implicit GEMM share: tables of addresses, and how work is cut into tasks."""

from __future__ import annotations

from typing import NamedTuple

import numba

from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import load_word, store_word

__all__ = ["Work", "cut_into_tasks", "fill_rows", "fill_taps"]

# Bytes of input that a task works on at a time: they stay in a second-level cache beside the weights of a panel.
_BAND_BYTES = 256 * 1024


@kernel
def fill_taps(table, kernel_h, kernel_w, step_h, step_w, fused, start, repeat):
    """Byte offsets of a kernel's taps from a row's first, as int64 at the address ``table``; ``repeat`` times in a row.

    Fused: one tap a kernel row. ``start`` is the offset of the first channel of the group.
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
    for _ in range(count):
        store_word(at, y + column * column_step)
        at += 8
        column += 1
        if column == out_width:
            column = 0
            y += row_step
    last = load_word(at - 8)
    for _ in range(extra):
        store_word(at, last)
        at += 8


class Work(NamedTuple):
    """What there is to cut: images x pixels output positions, times panels of weights.

    ``pixel_bytes`` of input are new with every position, ``weight_bytes`` are all weights; ``copies``: a task first
    copies or converts the input it reads; ``whole_rows``: it takes whole rows of ``out_width`` positions.
    """

    images: int
    pixels: int
    out_width: int
    pixel_bytes: int
    weight_bytes: int
    panels: int
    copies: bool
    whole_rows: bool


def _block_size(work: Work, blocks: int, tile_rows: int) -> int:
    """Positions of one of about ``blocks`` blocks: whole tiles, whole rows where needed."""
    if not work.whole_rows:
        return min(-(-work.pixels // (blocks * tile_rows)) * tile_rows, work.pixels)
    height = -(-work.pixels // work.out_width)
    rows = -(-height // blocks)
    # Whole tiles where that costs few rows.
    more = next((r for r in range(rows, min(rows + 3, height + 1)) if r * work.out_width % tile_rows == 0), rows)
    return min(more * work.out_width, work.pixels)


def cut_into_tasks(work: Work, tile_rows: int) -> tuple[int, int, int]:
    """Cut a convolution into blocks of positions x blocks of panels.

    A block of positions reads all its weights, a block of panels all its input; with few positions and many weights it
    is cheaper to share out the panels. Results do not depend on any of this.

    Returns
    -------
    block, blocks, panel_blocks : int
        Positions of a block, blocks an image, blocks of panels.
    """
    threads = numba.get_num_threads()
    wanted = 1 if threads == 1 else 2 * threads
    input_bytes = work.pixels * work.pixel_bytes
    fewest = max(1, round(input_bytes / _BAND_BYTES))
    if work.pixels == 1:
        # A single row takes four panels at a time.
        return 1, 1, max(1, min(work.panels // 4, wanted))
    block = _block_size(work, fewest, tile_rows)
    blocks = -(-work.pixels // block)
    missing = -(-wanted // (work.images * blocks))
    if missing == 1:
        return block, blocks, 1
    panel_blocks = min(missing, work.panels)
    more = _block_size(work, blocks * missing, tile_rows)
    more_blocks = -(-work.pixels // more)
    # Copying costs about as much as reading twice.
    by_panels = panel_blocks * input_bytes * (3 if work.copies else 1) + blocks * work.weight_bytes
    by_positions = input_bytes * (3 if work.copies else 1) + more_blocks * work.weight_bytes
    if panel_blocks == missing and by_panels < by_positions:
        return block, blocks, panel_blocks
    return more, more_blocks, 1
