"""What the fp32 and the int8 implicit GEMM share: tables of addresses, and how work is cut into tasks."""

from __future__ import annotations

from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import load_word, store_word

__all__ = ["block_size", "fill_rows", "fill_taps", "panel_blocks_of"]

# Bytes of input that a task works on at a time: they stay in a second-level cache beside the weights of a panel.
_BAND_BYTES = 192 * 1024
# Tasks that a layer is cut into at least, so that two to four threads have something to share.
_MIN_TASKS = 4


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


def block_size(pixels: int, out_width: int, row_bytes: int, whole_rows: bool, tile_rows: int, images: int) -> int:
    """Output positions a task computes: what fits the cache, enough tasks for the threads, whole tiles.

    ``row_bytes`` of input are new with every position; ``whole_rows`` where a task copies the rows it needs.
    """
    limit = max(_BAND_BYTES // max(row_bytes, 1), tile_rows)
    limit = min(limit, max(-(-pixels * images // _MIN_TASKS), tile_rows))
    if not whole_rows:
        blocks = max(1, round(pixels / limit))
        return min(-(-pixels // (blocks * tile_rows)) * tile_rows, pixels)
    rows = max(1, limit // out_width)
    # Whole tiles where that costs few rows.
    for more in range(rows, min(rows + 3, -(-pixels // out_width) + 1)):
        if more * out_width % tile_rows == 0:
            rows = more
            break
    return min(rows * out_width, pixels)


def panel_blocks_of(tasks: int, panels: int, pixels: int) -> int:
    """Into how many blocks the panels of weights are cut, where there are too few blocks of positions."""
    if tasks >= _MIN_TASKS:
        return 1
    if pixels > 1:
        return min(panels, _MIN_TASKS)
    # A single row takes four panels at a time.
    return max(1, min(panels // 4, 2 * _MIN_TASKS))
