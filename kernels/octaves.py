"""Histograms of magnitudes with bins of equal ratio, 16 to a factor of two, whatever the range, in one pass.

The bin of a value is read off the bits of its float32: the exponent and the first four bits of the fraction. No range
must be known beforehand, histograms of different samples add up, and any coarser scale can be had from them later. Bin
0 takes all magnitudes below :data:`SMALLEST`, the last one all from about 2e6 on.

Versions, slowest first: the naive twin, value by value; the op, on all threads, 1 ns per value on one core.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import i32_view, words
from tnnquant.kernels.stats import _part
from tnnquant.kernels.walk import WALK_WORDS, Walk

__all__ = ["OCTAVE_BINS", "PER_OCTAVE", "SMALLEST", "octave_edges", "octave_histogram_naive", "octave_histogram_op"]

PER_OCTAVE = 16
OCTAVE_BINS = 768
#: Lower edge of bin 1.
SMALLEST = 2.0**-27
_MAGNITUDE = np.int32(0x7FFFFFFF)
_SHIFT = np.int32(19)
_LEAST = -(2**31)
_FIRST = np.int32(((127 - 27) << 4) - 1)


@cache
def octave_edges() -> np.ndarray:
    """Lower edges of the bins and the upper edge of the last, float64 (OCTAVE_BINS + 1,), read-only; the first is 0."""
    steps = np.arange(OCTAVE_BINS)
    edges = np.concatenate([[0.0], SMALLEST * 2.0 ** (steps // PER_OCTAVE) * (1 + steps % PER_OCTAVE / PER_OCTAVE)])
    edges.flags.writeable = False
    return edges


@kernel
def octave_histogram_naive(x, counts):
    # x: float32 (N, C, I); counts: int64 (C, OCTAVE_BINS), updated
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for v in x[n, c]:
                bin_ = 0
                if abs(v) >= SMALLEST:
                    fraction, exponent = math.frexp(np.float64(abs(v)))
                    bin_ = (exponent - 1 + 27) * PER_OCTAVE + int((fraction * 2 - 1) * PER_OCTAVE) + 1
                counts[c, min(bin_, OCTAVE_BINS - 1)] += 1


@kernel
def _count(bits, base, counts, skipped, last, least):
    # bits: int32 (columns,), float32 seen as integers; base: int32 (columns,); counts: int32; least: integers below it
    # are taken as it
    for c in range(bits.size):
        bin_ = max(((max(bits[c], least) & _MAGNITUDE) >> _SHIFT) - _FIRST, np.int32(0))
        bin_ = min(max(bin_ - skipped, min(bin_, np.int32(1))), last)
        counts[base[c] + bin_] += np.int32(1)


@kernel
def _octaves_task(op, index, scratch):
    # op words from ARGS on: address of x, a Walk; addresses of base, int32 (groups, columns), of counts, int32;
    # columns; int32 elements of one chunk's counts; bins skipped; number of the last bin; least integer
    args = words(op, program.WORDS)[program.ARGS :]
    address, repeats, repeat_step, rows, row_step, width, tail, group = _part(args, index)
    base = i32_view(args[WALK_WORDS + 1] + 4 * group * args[WALK_WORDS + 3], args[WALK_WORDS + 3])
    size = args[WALK_WORDS + 4]
    counts = i32_view(args[WALK_WORDS + 2] + 4 * (index % args[11]) * size, size)
    skipped, last = np.int32(args[WALK_WORDS + 5]), np.int32(args[WALK_WORDS + 6])
    least = np.int32(args[WALK_WORDS + 7])
    for _ in range(repeats):
        for r in range(rows):
            _count(i32_view(address + r * row_step, width), base, counts, skipped, last, least)
        _count(i32_view(address + rows * row_step, tail), base, counts, skipped, last, least)
        address += repeat_step


def octave_histogram_op(
    walk: Walk, address: int, base: np.ndarray, counts: np.ndarray, skipped: int = 0, only_positive: bool = False
) -> np.ndarray:
    """The op that counts a blob's magnitudes.

    Parameters
    ----------
    walk : Walk
        Of :func:`~tnnquant.kernels.walk.histogram_walk`.
    address : int
        Of the blob's first value, a float32.
    base : int32 (walk.groups, walk.columns)
        Where the bins of a column begin in the counts of a chunk.
    counts : int32 (walk.chunks, histograms, bins)
        Updated. A bin overflows when 2**31 values are in it: the caller counts the values. The last one also takes all
        values beyond it.
    skipped : int
        Bins from 1 on that have no counts of their own: bin 1 of the counts takes those of the first ``skipped + 1``,
        and bin b > 1 those of bin ``b + skipped``.
    only_positive : bool
        Values that are not above 0 are counted as 0.
    """
    data = program.data_address
    bins = counts.shape[2]
    args = [address, *walk.words, data(base), data(counts), walk.columns, counts.shape[1] * bins, skipped, bins - 1]
    args.append(0 if only_positive else _LEAST)  # of float32 seen as integers, those below 0 are negative
    return program.new_op(_octaves_task, walk.tasks, 0, args)
