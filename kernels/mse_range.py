"""Squared error of quantizing the values of a histogram, for several scales.

The histogram has bins of equal ratio (:mod:`tnnquant.kernels.octaves`); tables give the error of a value of each bin
for each scale, so that a scale costs one multiplication per bin. Versions: the naive twin; the op, one task per few
slots.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.octaves import OCTAVE_BINS
from tnnquant.kernels.simd import f64_view, i32_view, words

__all__ = ["histogram_errors", "histogram_errors_naive"]

_SLOTS = 16  # of a task


@kernel
def histogram_errors_naive(counts, rows, table, errors):
    # counts: int64 (slots, BINS); rows: int32 (slots, trials); table: float64 (scales, BINS); errors: float64
    # (slots, trials)
    for slot in range(counts.shape[0]):
        for trial in range(rows.shape[1]):
            total = 0.0
            for b in range(counts.shape[1]):
                total += np.float64(counts[slot, b]) * table[rows[slot, trial], b]
            errors[slot, trial] = total


@kernel
def _errors_task(op, index, scratch):
    # op words from ARGS on: addresses of counts, rows, table, errors as in the naive twin; slots, trials
    args = words(op, program.WORDS)[program.ARGS :]
    slots, trials = args[4], args[5]
    for slot in range(index * _SLOTS, min(index * _SLOTS + _SLOTS, slots)):
        counts = words(args[0] + 8 * OCTAVE_BINS * slot, OCTAVE_BINS)
        first, last = np.int64(0), np.int64(OCTAVE_BINS)
        while first < last and counts[first] == 0:
            first += 1
        while last > first and counts[last - 1] == 0:
            last -= 1
        rows = i32_view(args[1] + 4 * trials * slot, trials)
        errors = f64_view(args[3] + 8 * trials * slot, trials)
        for trial in range(trials):
            table = f64_view(args[2] + 8 * OCTAVE_BINS * np.int64(rows[trial]), OCTAVE_BINS)
            # Four sums: one alone would wait for each addition.
            sums = (0.0, 0.0, 0.0, 0.0)
            whole = first + (last - first) // 4 * 4
            for b in range(first, whole, 4):
                sums = (
                    sums[0] + np.float64(counts[b]) * table[b],
                    sums[1] + np.float64(counts[b + 1]) * table[b + 1],
                    sums[2] + np.float64(counts[b + 2]) * table[b + 2],
                    sums[3] + np.float64(counts[b + 3]) * table[b + 3],
                )
            total = (sums[0] + sums[1]) + (sums[2] + sums[3])
            for b in range(whole, last):
                total += np.float64(counts[b]) * table[b]
            errors[trial] = total


def histogram_errors(counts: np.ndarray, rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """``sum over bins of count * table[row]`` for every slot and trial, float64 (slots, trials).

    Parameters
    ----------
    counts : int64 (slots, OCTAVE_BINS)
        C-contiguous, as are all others.
    rows : int32 (slots, trials)
        Rows of the table; it has one per scale.
    table : float64 (scales, OCTAVE_BINS)
    """
    errors = np.empty(rows.shape)
    if errors.size:
        args = [program.data_address(array) for array in (counts, rows, table, errors)]
        program.run(program.new_op(_errors_task, -(-len(counts) // _SLOTS), 0, [*args, *rows.shape]))
    return errors
