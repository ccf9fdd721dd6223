"""Second moments of the taps of a depthwise layer's windows, channel by channel, exact.

Versions: the naive twin; the op, a task per vector of channels.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import _pointer, i8_view, words

__all__ = ["MOST_WINDOWS", "tap_moments", "tap_moments_naive"]

LANES = 16
#: Windows whose sums of products of int8 fit into int32.
MOST_WINDOWS = 2**31 // 2**14 - 1


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


@kernel
def _moments_task(op, index, scratch):
    # op words from ARGS on: addresses of codes, moments as in the naive twin; windows, taps, C. Scratch: int32 (taps,
    # taps, LANES), (taps, LANES): sums, codes of a window
    args = words(op, program.WORDS)[program.ARGS :]
    windows, taps, channels = args[2], args[3], args[4]
    first = index * LANES
    lanes = min(np.int64(LANES), channels - first)
    sums = carray(_pointer(scratch, np.int32), (taps, taps, LANES))
    wide = carray(_pointer(scratch + 4 * LANES * taps * taps, np.int32), (taps, LANES))
    sums[:] = np.int32(0)
    wide[:] = np.int32(0)
    for window in range(windows):
        for tap in range(taps):
            source = i8_view(args[0] + (window * taps + tap) * channels + first, lanes)
            for lane in range(lanes):
                wide[tap, lane] = np.int32(source[lane])
        for one in range(taps):
            a = wide[one]
            for other in range(one, taps):
                b, total = wide[other], sums[one, other]
                for lane in range(LANES):
                    total[lane] += a[lane] * b[lane]
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
        args = [program.data_address(codes), program.data_address(moments), windows, taps, channels]
        scratch = 4 * LANES * taps * (taps + 1)
        program.run(program.new_op(_moments_task, -(-channels // LANES), scratch, args))
    return moments
