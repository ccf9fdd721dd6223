"""TNN's KL-divergence threshold over histograms (reference, 7.6.1), for many slots at once.

With thresholds i = 128..2047 and groups of width B = i/128, the candidate distribution is constant within a group
(``v = mass / B``) and a mixture of two neighbours in a bin that a group border cuts. So with prefix sums C of the
counts, ``kl = sum ref ln ref - sum ref ln e`` needs, per group, the mass of its whole bins and one logarithm, and per
cut bin one more: at most 255 logarithms a threshold instead of 2048, and fewer where the groups visited so far show
that it cannot win. All in units of counts; TNN's starting value of 1e-7 a bin is kept. Thresholds that tie within
TNN's own float32 noise are compared in TNN's own steps.

* :func:`kl_thresholds_naive`: the algorithm of TNN, literally, in float32.
* :func:`kl_thresholds`: the above, eight slots side by side in vector registers.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import F32, I32, I64, Emitter
from tnnquant.kernels.stats import BINS

__all__ = ["kl_curve", "kl_thresholds", "kl_thresholds_naive"]

GROUPS = 128
LANES = 8
_FILL = 1e-7
#: Relative difference of two divergences that float32 sums of 2048 terms may turn around.
_TIE = 1e-4
#: Rounding of the partial sums, in units of the slot's count.
_SLACK = 1e-6
#: Groups visited between two looks at whether a threshold can still win; distance of the thresholds tried first.
_STRETCH, _COARSE = 8, 48


@kernel
def _distribution(counts, d, tails):
    # counts: int (BINS + 1,); d: float32 (BINS,), normalized; tails: float32 (BINS,), mass from each threshold on
    total = np.float32(0)
    for k in range(BINS):
        d[k] = np.float32(np.float32(counts[k]) + np.float32(_FILL))
        total += d[k]
    tail = np.float32(0)
    for k in range(BINS):
        d[k] /= total
        if k >= GROUPS:
            tail += d[k]
    for i in range(GROUPS, BINS):
        tails[i] = tail
        tail -= d[i]


@kernel
def _divergence(d, tail, i, candidate):
    # d: float32 (BINS,); tail: mass from bin i on; candidate: float32 (BINS,), scratch. Divergence of threshold i, in
    # TNN's own steps; NaN where the rounding of `tail`, a running difference, takes more than the last bin has.
    candidate[:] = 0
    width = np.float32(i) / np.float32(GROUPS)
    for j in range(GROUPS):
        start = np.float32(j) * width
        end = start + width
        up, down = math.ceil(start), math.floor(end)
        head, rest = np.float32(up) - start, end - np.float32(down)
        mass = np.float32(0)
        if up > start:
            mass += head * d[up - 1]
        if down < end:
            mass += rest * d[down]
        for k in range(up, down):
            mass += d[k]
        value = mass / (head + rest + np.float32(down - up))
        if up > start:
            candidate[up - 1] += value * head
        if down < end:
            candidate[down] += value * rest
        for k in range(up, down):
            candidate[k] += value
    divergence = np.float32(0)
    for k in range(i):
        ref = d[k] if k < i - 1 else np.float32(d[k] + tail)
        if ref == 0:
            continue
        if candidate[k] == 0:
            divergence += np.float32(1)
        else:
            divergence += ref * np.float32(math.log(np.float32(ref / candidate[k])))
    return divergence


@kernel
def kl_curve(counts, curve):
    # counts: int (BINS + 1,); curve: float32 (BINS,), the divergence of each threshold, inf below GROUPS
    d = np.empty(BINS, np.float32)
    tails = np.empty(BINS, np.float32)
    candidate = np.empty(BINS, np.float32)
    _distribution(counts, d, tails)
    curve[:GROUPS] = np.inf
    for i in range(GROUPS, BINS):
        curve[i] = _divergence(d, tails[i], i, candidate)


@kernel
def kl_thresholds_naive(counts, thresholds):
    # counts: int (S, BINS + 1); thresholds: int32 (S,)
    curve = np.empty(BINS, np.float32)
    for s in range(counts.shape[0]):
        kl_curve(counts[s], curve)
        best, thresholds[s] = np.float32(np.inf), GROUPS
        for i in range(GROUPS, BINS):
            if curve[i] < best:  # never for NaN
                best, thresholds[s] = curve[i], i


_SQRT_HALF_BITS, _SIGNIFICAND = 0x3F3504F3, 0x007FFFFF
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # ln 2 in two parts, the first with 9 bits
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip


def _emit_log(emit, x):
    """Natural logarithm of positive normal float32 lanes, about 1 ulp (Cephes, logf)."""
    b = emit.builder
    whole = ir.VectorType(I32, emit.lanes)
    bits = b.sub(b.bitcast(x, whole), emit.constant(_SQRT_HALF_BITS, I32))
    exponent = b.sitofp(b.ashr(bits, emit.constant(23, I32)), emit.vector)
    near = b.add(b.and_(bits, emit.constant(_SIGNIFICAND, I32)), emit.constant(_SQRT_HALF_BITS, I32))
    m = b.fsub(b.bitcast(near, emit.vector), emit.constant(1.0))
    z = b.fmul(m, m)
    p = emit.constant(_LOG[0])
    for factor in _LOG[1:]:
        p = emit.multiply_add(p, m, emit.constant(factor))
    y = b.fmul(b.fmul(p, m), z)
    y = emit.multiply_add(exponent, emit.constant(_LN2_LOW), y)
    y = emit.multiply_add(z, emit.constant(-0.5), y)
    return emit.multiply_add(exponent, emit.constant(_LN2_HIGH), b.fadd(m, y))


@intrinsic
def _add_groups(typingctx, bins, sums, i, first, count, cross, before):
    """For threshold i and LANES slots: adds ``d_k ln e_k`` of the bins of groups first..first+count-1 to ``cross``.

    bins: address of float32 (BINS + 1, LANES), counts + fill; sums: address of float64 (BINS + 1, LANES), counts before
    each bin; cross: address of float64 (LANES,); before: address of float32 (LANES,), the value of the group before
    (any positive number for group 0), replaced by that of the last. With borders at ``j * i / 128`` everything about a
    group but its masses is integer arithmetic.
    """
    if (bins, sums, i, first, count, cross, before) != (types.int64,) * 7:
        return None

    def codegen(context, builder, sig, args):
        bins, sums, i, first, count, cross_at, before_at = args
        emit = Emitter(builder, LANES)
        double = ir.VectorType(ir.DoubleType(), LANES)
        share = ir.Constant(F32, 1 / GROUPS)
        inverse = emit.splat(builder.fdiv(ir.Constant(F32, GROUPS), builder.sitofp(i, F32)))

        def row(address, index, vector, size):
            return emit.load(emit.pointer(builder.add(address, builder.mul(index, I64(LANES * size)))), vector)

        total = emit.variable(emit.load(emit.pointer(cross_at), double))
        before = emit.variable(emit.load(emit.pointer(before_at)))
        with emit.loop(count) as j:
            start = builder.mul(builder.add(j, first), i)
            end = builder.add(start, i)
            up, down = (
                builder.ashr(value, I64(7)) for value in (builder.add(start, I64(GROUPS - 1)), end)
            )
            head = builder.fmul(builder.sitofp(builder.sub(builder.shl(up, I64(7)), start), F32), share)
            tail = builder.fmul(builder.sitofp(builder.sub(end, builder.shl(down, I64(7))), F32), share)
            cut_index = builder.ashr(start, I64(7))
            whole = builder.fmul(builder.sitofp(builder.sub(down, up), F32), ir.Constant(F32, _FILL))
            inner = builder.fptrunc(builder.fsub(row(sums, down, double, 8), row(sums, up, double, 8)), emit.vector)
            inner = builder.fadd(inner, emit.splat(whole))
            cut = row(bins, cut_index, emit.vector, 4)
            mass = emit.multiply_add(cut, emit.splat(head), inner)
            mass = emit.multiply_add(row(bins, down, emit.vector, 4), emit.splat(tail), mass)
            value = builder.fmul(mass, inverse)
            log = _emit_log(emit, value)
            term = builder.fmul(inner, log)
            builder.store(builder.fadd(builder.load(total), builder.fpext(term, double)), total)
            # The bin shared with the group before, if a border cuts one, is a mixture of both values.
            with builder.if_then(builder.fcmp_ordered(">", head, ir.Constant(F32, 0))):
                rest = emit.splat(builder.fsub(ir.Constant(F32, 1), head))
                mixed = emit.multiply_add(builder.load(before), rest, builder.fmul(value, emit.splat(head)))
                term = builder.fmul(cut, _emit_log(emit, mixed))
                builder.store(builder.fadd(builder.load(total), builder.fpext(term, double)), total)
            builder.store(value, before)
        emit.store(builder.load(total), emit.pointer(cross_at))
        emit.store(builder.load(before), emit.pointer(before_at))
        return context.get_dummy_value()

    return types.void(bins, sums, i, first, count, cross, before), codegen


@kernel
def _divergence_of_lanes(i, bins, sums, entropy, best, scratch, curves):
    # Divergence of threshold i for LANES slots, into curves[:, i]; inf if it is certain, before all groups have been
    # visited, that every slot has a better one (best: float64 (LANES,), updated). See _curves_of_lanes.
    # scratch: float64 (3, LANES), of which the third is used as float32.
    cross, own, before = scratch[0], scratch[1], scratch[2].view(np.float32)
    bins_at, sums_at = np.int64(bins.ctypes.data), np.int64(sums.ctypes.data)
    cross_at, before_at = np.int64(cross.ctypes.data), np.int64(before.ctypes.data)
    start = (GROUPS - 1) * i
    up = (start + GROUPS - 1) // GROUPS
    head = (up * GROUPS - start) / GROUPS
    cross[:] = 0
    for lane in range(LANES):
        # The last bin, which holds all that is clipped: its value is that of the last group.
        mass = sums[i, lane] - sums[up, lane] + (i - up) * _FILL + head * bins[start // GROUPS, lane]
        value = mass * GROUPS / i
        last = bins[i - 1, lane] + (sums[BINS, lane] - sums[i, lane] + _FILL * (BINS - i))
        own[lane] = last * math.log(last) - (last - bins[i - 1, lane]) * math.log(value)
        before[LANES + lane] = np.float32(value - bins[i - 1, lane] - bins[i - 1, lane] * math.log(value))
        before[lane] = 1
    for first in range(0, GROUPS, _STRETCH):
        _add_groups(bins_at, sums_at, np.int64(i), np.int64(first), np.int64(_STRETCH), cross_at, before_at)
        seen = (first + _STRETCH) * i
        if first + _STRETCH < GROUPS:
            # Of the bins not seen yet, sum d ln(d/e) is at least sum d - sum e.
            hopeless = True
            share = (seen - seen // GROUPS * GROUPS) / GROUPS
            for lane in range(LANES):
                rest = before[LANES + lane] - share * before[lane]
                lowest = entropy[seen // GROUPS, lane] - cross[lane] + own[lane] + rest
                hopeless = hopeless and lowest > best[lane] + abs(best[lane]) * _TIE + _SLACK * sums[BINS, lane]
            if hopeless:
                for lane in range(LANES):
                    curves[lane, i] = np.inf
                return
    for lane in range(LANES):
        divergence = entropy[i - 1, lane] - cross[lane] + own[lane]
        curves[lane, i] = divergence
        best[lane] = min(best[lane], divergence)


@kernel
def _curves_of_lanes(bins, sums, entropy, curves):
    # bins: float32 (BINS + 1, LANES), counts + fill; sums: float64 (BINS + 1, LANES), counts before each bin; entropy:
    # float64 (BINS + 1, LANES), sum of d ln d before each bin; curves: float64 (LANES, BINS), from GROUPS on
    best = np.full(LANES, np.inf)
    scratch = np.empty((3, LANES), np.float64)
    # A few thresholds first: what they find lets most others be given up early.
    for i in range(GROUPS, BINS, _COARSE):
        _divergence_of_lanes(i, bins, sums, entropy, best, scratch, curves)
    for i in range(GROUPS, BINS):
        if (i - GROUPS) % _COARSE:
            _divergence_of_lanes(i, bins, sums, entropy, best, scratch, curves)


@kernel
def _settle(counts, curve, d, tails, candidate):
    # counts: int (BINS + 1,); curve: float64 (BINS,); the rest scratch, float32 (BINS,). The best threshold; among
    # those that tie, the one TNN's float32 steps prefer.
    limit = np.inf
    for i in range(GROUPS, BINS):
        limit = min(limit, curve[i])
    limit += abs(limit) * _TIE
    first, ties = -1, 0
    for i in range(GROUPS, BINS):
        if curve[i] <= limit:
            ties += 1
            first = i if first < 0 else first
    if ties == 1:
        return first
    _distribution(counts, d, tails)
    best, found = np.float32(np.inf), first
    for i in range(first, BINS):
        if curve[i] <= limit:
            divergence = _divergence(d, tails[i], i, candidate)
            if divergence < best:
                best, found = divergence, i
    return found


@kernel(parallel=True)
def kl_thresholds(counts, thresholds):
    # counts: int32 or int64 (S, BINS + 1), the last one is not used; thresholds: int32 (S,)
    slots = counts.shape[0]
    for block in prange((slots + LANES - 1) // LANES):
        bins = np.zeros((BINS + 1, LANES), np.float32)
        sums = np.empty((BINS + 1, LANES), np.float64)
        entropy = np.zeros((BINS + 1, LANES), np.float64)
        curves = np.empty((LANES, BINS), np.float64)
        scratch = np.empty((3, BINS), np.float32)
        for lane in range(LANES):
            s = min(block * LANES + lane, slots - 1)
            total = np.float64(0)
            for k in range(BINS):
                sums[k, lane] = total
                total += counts[s, k]
                d = np.float32(np.float32(counts[s, k]) + np.float32(_FILL))
                bins[k, lane] = d
                entropy[k + 1, lane] = entropy[k, lane] + d * math.log(d)
            sums[BINS, lane] = total
        _curves_of_lanes(bins, sums, entropy, curves)
        for lane in range(min(LANES, slots - block * LANES)):
            s = block * LANES + lane
            thresholds[s] = _settle(counts[s], curves[lane], scratch[0], scratch[1], scratch[2])
