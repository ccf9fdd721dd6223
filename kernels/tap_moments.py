"""Second moments of the taps of a depthwise layer's windows, channel by channel, exact.

Versions, slowest first: the naive twin; the op, a task per vector of channels, with the sums of a few taps by a few
taps in registers. It adds up in float32, exactly: a block of windows at a time.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import F32, Emitter, _pointer, i8_view, words

__all__ = ["MOST_WINDOWS", "tap_moments", "tap_moments_naive"]

LANES = 16
#: Windows whose sums of products of int8 fit into int32.
MOST_WINDOWS = 2**31 // 2**14 - 1
#: Windows of a block: float32 holds their sums, up to 2**24, exactly, and their codes stay in the cache.
_BLOCK = 128
#: Taps of a tile of sums, squared.
_TILE = 3


@kernel
def tap_moments_naive(codes, moments):
    # codes: int8 (windows, taps, C); moments: int32 (C, taps, taps)
    for channel in range(codes.shape[2]):
        for one in range(codes.shape[1]):
            for other in range(codes.shape[1]):
                total = np.int32(0)
                for window in range(codes.shape[0]):
                    total += np.int32(codes[window, one, channel]) * np.int32(codes[window, other, channel])
                moments[channel, one, other] = total


@intrinsic
def _tile_sums(typingctx, first, second, step, count, target):
    """``target[i, j, :] = sum over w of first[w, i, :] * second[w, j, :]`` over _TILE by _TILE taps.

    The arguments are addresses and a step from window to window in bytes, all int64; taps are float32 (LANES,).
    """

    def codegen(context, builder, sig, args):
        first, second, step, count, target = args
        emit = Emitter(builder, LANES)
        zero = ir.Constant(emit.vector, None)
        sums = [[emit.variable(zero) for _ in range(_TILE)] for _ in range(_TILE)]
        with emit.loop(count) as window:
            moved = builder.mul(step, window)
            one, other = (
                [
                    emit.load(emit.at(emit.pointer(builder.add(address, moved), F32), LANES * tap))
                    for tap in range(_TILE)
                ]
                for address in (first, second)
            )
            for a, row in zip(one, sums, strict=True):
                for b, total in zip(other, row, strict=True):
                    builder.store(emit.multiply_add(a, b, builder.load(total)), total)
        out = emit.pointer(target, F32)
        for i, row in enumerate(sums):
            for j, total in enumerate(row):
                emit.store(builder.load(total), emit.at(out, LANES * (_TILE * i + j)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@kernel
def _moments_task(op, index, scratch):
    # op words from ARGS on: addresses of codes, moments as in the naive twin; windows, taps, C, taps rounded up to
    # whole tiles. Scratch: int32 (room, room, LANES): sums; float32 (_TILE, _TILE, LANES): those of a tile in a block;
    # float32 (_BLOCK, room, LANES): codes of a block, 0 where there is no such tap
    args = words(op, program.WORDS)[program.ARGS :]
    windows, taps, channels, room = args[2], args[3], args[4], args[5]
    first = index * LANES
    lanes = min(np.int64(LANES), channels - first)
    sums = carray(_pointer(scratch, np.int32), (room, room, LANES))
    at_tile = scratch + 4 * LANES * room * room
    tile = carray(_pointer(at_tile, np.float32), (_TILE, _TILE, LANES))
    at_wide = at_tile + 4 * LANES * _TILE * _TILE
    wide = carray(_pointer(at_wide, np.float32), (_BLOCK, room, LANES))
    sums[:] = np.int32(0)
    wide[:] = np.float32(0)
    for begin in range(0, windows, _BLOCK):
        count = min(np.int64(_BLOCK), windows - begin)
        for window in range(count):
            for tap in range(taps):
                source = i8_view(args[0] + ((begin + window) * taps + tap) * channels + first, lanes)
                row = wide[window, tap]
                for lane in range(lanes):
                    row[lane] = np.float32(source[lane])
        for one in range(0, taps, _TILE):
            for other in range(one, taps, _TILE):
                _tile_sums(
                    at_wide + 4 * LANES * one, at_wide + 4 * LANES * other, 4 * LANES * room, count, at_tile
                )
                for i in range(_TILE):
                    for j in range(_TILE):
                        total, part = sums[one + i, other + j], tile[i, j]
                        for lane in range(LANES):
                            total[lane] += np.int32(part[lane])
    target = carray(_pointer(args[1], np.int32), (channels, taps, taps))
    for lane in range(lanes):
        for one in range(taps):
            for other in range(one, taps):
                target[first + lane, one, other] = target[first + lane, other, one] = sums[one, other, lane]


def tap_moments(codes: np.ndarray) -> np.ndarray:
    """Sums over windows of the products of two taps, int32 (C, taps, taps).

    Parameters
    ----------
    codes : int8 (windows, taps, C)
        C-contiguous; at most :data:`MOST_WINDOWS` windows.
    """
    windows, taps, channels = codes.shape
    moments = np.zeros((channels, taps, taps), np.int32)
    if codes.size:
        room = -(-taps // _TILE) * _TILE
        args = [program.data_address(codes), program.data_address(moments), windows, taps, channels, room]
        scratch = 4 * LANES * (room * room + _TILE * _TILE + _BLOCK * room)
        program.run(program.new_op(_moments_task, -(-channels // LANES), scratch, args))
    return moments
