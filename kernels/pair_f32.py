"""fp32 sums of two panels of output channels at once, over all rows of a task.

Rows are read once for both, and longer runs are written, than panel by panel. Where the weights are too large for the
nearest cache, the sums are taken in parts: a part of the weights after the other, each over all rows, while the sums
wait in scratch memory. So weights are read from a far cache once, however many rows there are. The order of a sum stays
the same, and so do its bits.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import load_word, store_word
from tnnquant.kernels.tile_f32 import PANEL, tile_f32

__all__ = ["HAS_PAIRS", "PAIR_ROWS", "part_of", "scratch_of_parts", "two_panels"]

#: Rows of a tile. Two panels take 24 sums, 4 weights and a value: more registers than there are of less than 512 bits.
PAIR_ROWS, HAS_PAIRS = 6, PANEL == 32
_FEW = 2  # rows that take no longer than one
_tile = tile_f32(PAIR_ROWS, 4, exact=True, whole=True, parts=True)
_tile_few = tile_f32(_FEW, 4, exact=True, parts=True)
_ROW = 4 * PANEL  # bytes of a panel's weights for one product
# Products of a part: its weights take 32 KB. Fewer than the second are not worth the way of the sums through memory.
_PART, _SHORTEST = 128, 48
# Bytes of weights of two panels that are read whole, tile after tile.
_WHOLE = 136 * 1024


def part_of(channels: int, tap_count: int) -> int:
    """How many channels of a tap a part takes; all of them where the sums are not taken in parts."""
    if 2 * _ROW * tap_count * channels <= _WHOLE:
        return channels
    part = max(length for length in range(1, _PART + 1) if channels % length == 0)
    return part if part >= _SHORTEST else channels


def scratch_of_parts(rows: int) -> int:
    """Bytes of scratch memory for the sums of so many rows, and the offset of a part."""
    return 64 + (rows + 2 * PAIR_ROWS) * 2 * _ROW


@kernel
def two_panels(row_table, count, taps, tap_count, channels, part, spare, weights, panel_bytes, bias, out, out_stride,
               n, activation, added, added_stride, after, following, pixel_bytes):  # fmt: skip
    # As the tile of tile_f32, for count >= PAIR_ROWS rows. spare: address of scratch_of_parts; following: of the
    # weights that are needed next; pixel_bytes: from row to row, where they lie one after the other, or 0.
    tiles = count // PAIR_ROWS
    left = count - tiles * PAIR_ROWS
    step = (_ROW + tiles - 1) // tiles
    zero, one, behind = np.int64(0), np.int64(1), tiles * PAIR_ROWS * 2 * _ROW
    sums, kept = spare + 64, zero
    parts = np.int64(1) if part == channels else tap_count * channels // part
    if parts > 1:
        tap_count = one
    for k in range(parts):
        here = weights + k * part * _ROW
        ahead, ahead_step, near_step, keep, at_taps = here + part * _ROW, step, step, sums, taps
        if parts > 1:
            at_taps = spare
            store_word(spare, load_word(taps + 8 * (k * part // channels)) + k * part % channels * 4)
        if k == parts - 1:
            ahead, keep = following, zero
        near = ahead + panel_bytes
        if pixel_bytes != 0 and parts == 1:
            # The next weights of both panels lie one after the other; the rows of the next tile are asked for too.
            ahead_step, near = 2 * step, load_word(row_table) + PAIR_ROWS * pixel_bytes
            near_step = (PAIR_ROWS * pixel_bytes + channels - 1) // channels
        # The last rows: few of them by themselves, others with some of those before once more. Their sums wait behind
        # those of the tiles.
        for again in range(2 if left > _FEW else 1):
            first, moved = again * (count - PAIR_ROWS), again * behind
            also = zero if added == 0 else added + first * added_stride
            _tile(row_table + 8 * first, at_taps, tap_count, part, here, panel_bytes, bias, out + first * out_stride,
                  out_stride, one if again else tiles, n, activation, also, added_stride, after, ahead, ahead_step,
                  near, near_step, zero if kept == 0 else kept + moved,
                  zero if keep == 0 else keep + moved)  # fmt: skip
        if 0 < left <= _FEW:
            first = count - left
            also, to = zero if added == 0 else added + first * added_stride, out + first * out_stride
            _tile_few(row_table + 8 * first, at_taps, tap_count, part, here, panel_bytes, bias, to, out_stride, left, n,
                      activation, also, added_stride, after, here, zero, here, zero,
                      zero if kept == 0 else kept + behind, zero if keep == 0 else keep + behind)  # fmt: skip
        kept = sums
