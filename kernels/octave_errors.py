"""Squared error of quantizing the values of an octave histogram, for several scales, in a few operations per bin.

Bins and scales both lie on the grid of :mod:`tnnquant.kernels.octaves`, 16 to an octave, so that the error of a bin in
units of the scale depends on how many bins it lies above the scale and on the scale's place within its octave alone:
one table of 16 rows serves all scales. Below half a step the error is the value itself and beyond the last code its
distance from that; both are sums of moments, made once per slot for all scales.

Versions: the naive twin, a sum over all bins for each scale; the op, one task per few slots.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.octaves import PER_OCTAVE, octave_edges
from tnnquant.kernels.simd import I64, Emitter, _pointer, f32_view, f64_view, i32_view, words

__all__ = ["octave_errors", "octave_errors_naive"]

#: Bins of the table: those below the first lie below half a step.
_TABLE = 10 * PER_OCTAVE
_SLOTS = 16  # of a task
_LANES = 8
_INSIDE = 64


@intrinsic
def _dot(typingctx, a, b, count):
    """The sum of the products of ``count`` float64 at two addresses: lanes side by side, products rounded first."""
    f64 = ir.DoubleType()

    def codegen(context, builder, sig, args):
        emit = Emitter(builder, _LANES, f64)
        one, other = emit.pointer(args[0], f64), emit.pointer(args[1], f64)
        total = emit.variable(emit.constant(0.0))
        whole = builder.udiv(args[2], I64(_LANES))
        with emit.loop(whole) as k:
            at = builder.mul(k, I64(_LANES))
            product = builder.fmul(emit.load(emit.at(one, at)), emit.load(emit.at(other, at)))
            builder.store(builder.fadd(builder.load(total), product), total)
        lanes = builder.load(total)
        result = emit.variable(f64(0.0))
        for lane in range(_LANES):
            entry = builder.extract_element(lanes, ir.Constant(ir.IntType(32), lane))
            builder.store(builder.fadd(builder.load(result), entry), result)
        done = builder.mul(whole, I64(_LANES))
        with emit.loop(builder.sub(args[2], done)) as k:
            at = builder.add(k, done)
            product = builder.fmul(builder.load(emit.at(one, at)), builder.load(emit.at(other, at)))
            builder.store(builder.fadd(builder.load(result), product), result)
        return builder.load(result)

    return types.float64(*[types.int64] * 3), codegen


@cache
def _rounding_table() -> np.ndarray:
    """Mean squared rounding error in units of scale**2: by the scale's place in its octave, and the bin's distance."""
    steps = np.arange(_TABLE + 1) - PER_OCTAVE
    edges = 2.0 ** (steps // PER_OCTAVE) * (1 + steps % PER_OCTAVE / PER_OCTAVE)
    values = edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(_INSIDE) + 0.5) / _INSIDE
    scales = 1 + np.arange(PER_OCTAVE) / PER_OCTAVE
    ratio = values / scales[:, None, None]
    return np.ascontiguousarray(np.square(ratio - np.floor(ratio + 0.5)).mean(axis=2))


@cache
def _last_bins(levels: int) -> np.ndarray:
    """Of the bin that the end of the last code falls into: its place in the table, the rounding and the clipping error
    there, float64 (PER_OCTAVE, 3), by the scale's place in its octave."""
    steps = np.arange(_TABLE + 1) - PER_OCTAVE
    edges = 2.0 ** (steps // PER_OCTAVE) * (1 + steps % PER_OCTAVE / PER_OCTAVE)
    found = np.empty((PER_OCTAVE, 3))
    for place in range(PER_OCTAVE):
        scale = 1 + place / PER_OCTAVE
        at = int(np.searchsorted(edges, (levels + 0.5) * scale, side="right")) - 1
        ratio = (edges[at] + (edges[at + 1] - edges[at]) * (np.arange(_INSIDE) + 0.5) / _INSIDE) / scale
        over = ratio > levels + 0.5
        error = np.square(ratio - np.minimum(np.floor(ratio + 0.5), levels))
        found[place] = at, np.where(over, 0, error).mean(), np.where(over, error, 0).mean()
    return found


@cache
def _moments() -> np.ndarray:
    """Mean and mean square of the values of each bin, evenly spread, float64 (2, OCTAVE_BINS)."""
    edges = octave_edges()
    mean_square = (edges[1:] ** 2 + edges[1:] * edges[:-1] + edges[:-1] ** 2) / 3
    return np.stack([(edges[1:] + edges[:-1]) / 2, mean_square])


@kernel
def octave_errors_naive(counts, first, rows, scales, levels, moments, table, ends, rounding, clipping):
    # counts: float32 (slots, bins), from bin first on; first: int; rows: int32 (slots, trials), the scales' places;
    # scales: float64 (S,); levels: int; moments: float64 (2, OCTAVE_BINS); table: float64 (PER_OCTAVE, _TABLE);
    # ends: float64 (PER_OCTAVE, 3), as made above; rounding, clipping: float64 (slots, trials)
    for slot in range(counts.shape[0]):
        for trial in range(rows.shape[1]):
            row = np.int64(rows[slot, trial])
            scale, place = scales[row], row % PER_OCTAVE
            base = row // PER_OCTAVE * PER_OCTAVE + 1 - PER_OCTAVE
            inner, outer = 0.0, 0.0
            for i in range(counts.shape[1]):
                count, at = np.float64(counts[slot, i]), first + i - base
                if at < 0:
                    inner += count * moments[1, first + i]
                elif at < ends[place, 0]:
                    inner += count * table[place, at] * scale**2
                elif at == ends[place, 0]:
                    inner += count * ends[place, 1] * scale**2
                    outer += count * ends[place, 2] * scale**2
                else:
                    most = levels * scale
                    outer += count * (moments[1, first + i] - 2 * most * moments[0, first + i] + most**2)
            rounding[slot, trial], clipping[slot, trial] = inner, outer


@kernel
def _errors_task(op, index, scratch):
    # op words from ARGS on: addresses of counts, rows, scales, moments (from bin `first` on), table, ends, rounding,
    # clipping as in the naive twin; slots, bins, trials; first; levels; OCTAVE_BINS. Scratch: float64 (5, bins + 1):
    # counts; sums of squares of the bins before; of the bins from there on: counts, sums, sums of squares
    args = words(op, program.WORDS)[program.ARGS :]
    slots, bins, trials, first, levels = args[8], args[9], args[10], args[11], np.float64(args[12])
    mean, square = f64_view(args[3], bins), f64_view(args[3] + 8 * args[13], bins)
    held = carray(_pointer(scratch, np.float64), (5, bins + 1))
    before, after_0, after_1, after_2 = held[1], held[2], held[3], held[4]
    for slot in range(index * _SLOTS, min(index * _SLOTS + _SLOTS, slots)):
        counts = f32_view(args[0] + 4 * bins * slot, bins)
        before[0] = after_0[bins] = after_1[bins] = after_2[bins] = 0.0
        for i in range(bins):
            held[0, i] = np.float64(counts[i])
            before[i + 1] = before[i] + held[0, i] * square[i]
        for i in range(bins - 1, -1, -1):
            after_0[i] = after_0[i + 1] + held[0, i]
            after_1[i] = after_1[i + 1] + held[0, i] * mean[i]
            after_2[i] = after_2[i + 1] + held[0, i] * square[i]
        rows = i32_view(args[1] + 4 * trials * slot, trials)
        rounding = f64_view(args[6] + 8 * trials * slot, trials)
        clipping = f64_view(args[7] + 8 * trials * slot, trials)
        for trial in range(trials):
            row = np.int64(rows[trial])
            scale, place = f64_view(args[2] + 8 * row, 1)[0], row % PER_OCTAVE
            ends = f64_view(args[5] + 24 * place, 3)
            base = row // PER_OCTAVE * PER_OCTAVE + 1 - PER_OCTAVE - first
            last = base + np.int64(ends[0])
            low, high = min(max(base, 0), bins), min(max(last, 0), bins)
            table = args[4] + 8 * (_TABLE * place + low - base)
            total = _dot(scratch + 8 * low, table, high - low)
            inner, outer = before[low] + total * scale**2, 0.0
            if 0 <= last < bins:
                inner += held[0, last] * ends[1] * scale**2
                outer += held[0, last] * ends[2] * scale**2
            beyond, most = min(max(last + 1, 0), bins), levels * scale
            outer += after_2[beyond] - 2 * most * after_1[beyond] + most**2 * after_0[beyond]
            rounding[trial], clipping[trial] = inner, outer


def octave_errors(counts: np.ndarray, first: int, rows: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """What quantization does to the values of a histogram.

    Parameters
    ----------
    counts : float32 (slots, bins)
        C-contiguous; of the bins from ``first`` on.
    first : int
        The first bin that ``counts`` holds.
    rows : int32 (slots, trials)
        The scales: places in ``octave_edges()[1:-1]``, lower edges of bins 1 and up.
    levels : int
        Steps from 0 to the largest code, 31 to 255.

    Returns
    -------
    rounding, clipping : float64 (slots, trials)
        Sums of squared errors of the values within and beyond the largest code; values are taken as evenly spread over
        their bins.
    """
    rounding, clipping = np.zeros((2, *rows.shape))
    if rows.size and counts.size:
        rows, counts = np.ascontiguousarray(rows, np.int32), np.ascontiguousarray(counts, np.float32)
        scales, moments, ends = octave_edges()[1:-1].copy(), _moments(), _last_bins(levels)
        data = program.data_address
        arrays = [counts, rows, scales, moments, _rounding_table(), ends, rounding, clipping]
        addresses = [data(array) for array in arrays]
        addresses[3] += 8 * first
        sizes = [*counts.shape, rows.shape[1], first, levels, moments.shape[1]]
        scratch = 8 * 5 * (counts.shape[1] + 1)
        program.run(program.new_op(_errors_task, -(-len(counts) // _SLOTS), scratch, [*addresses, *sizes]))
    return rounding, clipping
