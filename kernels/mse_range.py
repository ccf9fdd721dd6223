"""Squared error of quantizing the values of a histogram, for several scales.

The histogram has bins of equal ratio (:mod:`tnnquant.kernels.octaves`); tables give the error of a value of each bin
for each scale, so that a scale costs one multiplication per bin. Versions: the naive twin; the op, one task per few
slots, several scales side by side.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.octaves import OCTAVE_BINS
from tnnquant.kernels.simd import I64, Emitter, _pointer, f64_view, i32_view, words

__all__ = ["histogram_errors", "histogram_errors_naive"]

_SLOTS = 16  # of a task
_LANES, _TRIALS = 4, 4


@intrinsic
def _dots(typingctx, counts, tables, count, totals):
    """``totals[t, :]``, float64 (_TRIALS, _LANES): sums of ``counts[b] * tables[t][b]`` over every _LANES-th of
    ``count`` bins, a multiple of that. Addresses, the tables' in int64 (_TRIALS,); products rounded first."""
    f64 = ir.DoubleType()

    def codegen(context, builder, sig, args):
        emit = Emitter(builder, _LANES, f64)
        held = emit.pointer(args[0], f64)
        rows = [
            emit.pointer(builder.load(emit.at(emit.pointer(args[1], ir.IntType(64)), t)), f64) for t in range(_TRIALS)
        ]
        sums = [emit.variable(emit.constant(0.0)) for _ in rows]
        with emit.loop(builder.udiv(args[2], I64(_LANES))) as k:
            at = builder.mul(k, I64(_LANES))
            mine = emit.load(emit.at(held, at))
            for row, total in zip(rows, sums, strict=True):
                builder.store(builder.fadd(builder.load(total), builder.fmul(mine, emit.load(emit.at(row, at)))), total)
        for t, total in enumerate(sums):
            emit.store(builder.load(total), emit.at(emit.pointer(args[3], f64), t * _LANES))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


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
    # op words from ARGS on: addresses of counts, rows, table, errors as in the naive twin; slots, trials. Scratch:
    # float64 (OCTAVE_BINS,): counts; (_TRIALS, _LANES): sums; int64 (_TRIALS,): addresses of the rows of the table
    args = words(op, program.WORDS)[program.ARGS :]
    slots, trials = args[4], args[5]
    at_sums = scratch + 8 * OCTAVE_BINS
    at_rows = at_sums + 8 * _TRIALS * _LANES
    held, sums = f64_view(scratch, OCTAVE_BINS), carray(_pointer(at_sums, np.float64), (_TRIALS, _LANES))
    tables = words(at_rows, _TRIALS)
    for slot in range(index * _SLOTS, min(index * _SLOTS + _SLOTS, slots)):
        counts = words(args[0] + 8 * OCTAVE_BINS * slot, OCTAVE_BINS)
        first, last = np.int64(0), np.int64(OCTAVE_BINS)
        while first < last and counts[first] == 0:
            first += 1
        while last > first and counts[last - 1] == 0:
            last -= 1
        for b in range(first, last):
            held[b] = np.float64(counts[b])
        rows = i32_view(args[1] + 4 * trials * slot, trials)
        errors = f64_view(args[3] + 8 * trials * slot, trials)
        whole = (last - first) // _LANES * _LANES
        for begin in range(0, trials, _TRIALS):
            for t in range(_TRIALS):
                row = np.int64(rows[min(begin + t, trials - 1)])
                tables[t] = args[2] + 8 * (OCTAVE_BINS * row + first)
            _dots(scratch + 8 * first, at_rows, whole, at_sums)
            for t in range(min(np.int64(_TRIALS), trials - begin)):
                total = (sums[t, 0] + sums[t, 1]) + (sums[t, 2] + sums[t, 3])
                table = f64_view(tables[t], last - first)
                for b in range(whole, last - first):
                    total += held[first + b] * table[b]
                errors[begin + t] = total


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
        scratch = 8 * (OCTAVE_BINS + _TRIALS * _LANES + _TRIALS)
        program.run(program.new_op(_errors_task, -(-len(counts) // _SLOTS), scratch, [*args, *rows.shape]))
    return errors
