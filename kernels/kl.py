"""TNN's KL-divergence threshold of a histogram (docs/tnn-format.md, 7.6.1), for many histograms at once.

A threshold i makes 128 groups of width B = i/128, whose borders cut bins. The candidate distribution e is v = mass/B in
the whole bins of a group, and a mixture of two neighbours' v in a bin that a border cuts. So with prefix sums of the
counts d and of ``d ln d - d`` a threshold costs 256 logarithms instead of 2048.

Fewer are needed: with ``f(r, e) = r ln(r/e) - r + e``, which is never negative, the divergence is tail + sum of f over
all bins. The last bin, which bears the clipped tail, is a lower bound that rules out many thresholds at once; a sum
that exceeds the best divergence so far need not be finished.

All this is done in float32, one vector lane per histogram. The error is far below :data:`_DOUBT`, and whatever comes
that close to the best is computed again in double. Thresholds that tie within the noise of TNN's float32 sums are
compared in TNN's own steps. TNN's tail is a running float32 difference that ends near zero but seldom at it. Because it
decides between thresholds, it is computed here in the same steps.

* :func:`kl_thresholds_naive`: TNN's algorithm, literally, in float32: 15 ms per histogram.
* :func:`kl_thresholds`: the above: 0.2 ms per histogram and thread.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.simd import F32, I32, I64, Emitter, _pointer, f32_view, i32_view, words
from tnnquant.kernels.target import isa
from tnnquant.kernels.walk import BINS

__all__ = ["GROUPS", "kl_curve", "kl_thresholds", "kl_thresholds_naive", "search"]

#: The number of groups, and the lowest threshold.
GROUPS = 128
LANES = max(8, isa().lanes)
_FILL, _FILL64 = np.float32(1e-7), np.float64(1e-7)  # what TNN puts into every bin first
_SIDE = 32  # groups between two looks at the bound
_PAD = 16  # rows of zeros before the sums, read for the group before the first
_ROWS = _PAD + BINS + 2
_COARSE = 64  # one in so many thresholds is tried first, for a low bound from the start
#: By how much float32 may be wrong: in divergence; in counts, because it does not count the fill of empty bins.
_DOUBT, _DOUBT_COUNTS = np.float32(4e-6), np.float32(1e-2)
#: Relative difference of two divergences that float32 sums of 2048 terms may turn around.
_TIE = np.float32(1e-4)
_MOST = np.int64(2**31 - 1)
_STOPPED = 2**24  # where a float32 counter no longer grows
_SHARES = (np.arange(128) / 128).astype(np.float32)
_LOGS = np.log(np.maximum(np.arange(4096), 1e-7))
_ZERO, _ONE = np.float32(0), np.float32(1)
# ln(1 + m) = m + m**2 * Q(m) on |m| <= 1/3, within 2.5e-7: our own fit
_LOG = (-0.500034094, 0.333408445, -0.248064816, 0.197141737, -0.196396038, 0.176083341)


# --- TNN's steps ---


@kernel
def _distribution(counts, d, tails):
    # counts: int (BINS,) or longer; d: float32 (BINS,), normalized; tails: float32 (BINS,), mass from each threshold
    # on. Returns what d was divided by
    total = tail = _ZERO
    for k in range(BINS):
        d[k] = np.float32(counts[k]) + _FILL
        total += d[k]
    for k in range(BINS):
        d[k] /= total
        if k >= GROUPS:
            tail += d[k]
    for i in range(GROUPS, BINS):
        tails[i] = tail
        tail -= d[i]
    most = counts[0]
    for k in range(BINS):
        most = max(most, counts[k])
    if most > _STOPPED:
        # TNN's float32 counters do not get this far: there are no roundings of its tail to reproduce.
        exact = np.float64(0)
        for i in range(BINS - 1, GROUPS - 1, -1):
            exact += np.float64(d[i])
            tails[i] = np.float32(exact)
    return total


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
        mass = _ZERO
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
    divergence = _ZERO
    for k in range(i):
        ref = d[k] if k < i - 1 else np.float32(d[k] + tail)
        if ref == 0:
            continue
        if candidate[k] == 0:
            divergence += _ONE
        else:
            divergence += ref * np.float32(math.log(np.float32(ref / candidate[k])))
    return divergence


@kernel
def kl_curve(counts, curve):
    # counts: int (BINS,) or longer; curve: float32 (BINS,), the divergence of each threshold, inf below GROUPS
    d = np.empty(BINS, np.float32)
    tails = np.empty(BINS, np.float32)
    candidate = np.empty(BINS, np.float32)
    _distribution(counts, d, tails)
    curve[:GROUPS] = np.inf
    for i in range(GROUPS, BINS):
        curve[i] = _divergence(d, tails[i], i, candidate)


@kernel
def kl_thresholds_naive(counts, thresholds):
    # counts: int32 (S, BINS), or more columns; thresholds: int32 (S,)
    curve = np.empty(BINS, np.float32)
    for s in range(counts.shape[0]):
        kl_curve(counts[s], curve)
        best, thresholds[s] = np.float32(np.inf), GROUPS
        for i in range(GROUPS, BINS):
            if curve[i] < best:  # never for NaN
                best, thresholds[s] = curve[i], i


# --- float32, LANES histograms at once ---


def _emit_log(emit, x, added):
    """``ln x + added`` for vectors of positive normal float32, within about 3e-7."""
    builder, integers = emit.builder, ir.VectorType(I32, emit.lanes)
    bits = builder.bitcast(x, integers)
    # x = 2**k * (1 + m) with 1 + m in [2/3, 4/3); k stays in the bits of the exponent, that is times 2**23.
    k = builder.sub(bits, emit.constant(0x3F2AAAAB, I32))
    k = builder.and_(k, emit.constant(-(2**23), I32))
    m = builder.fsub(builder.bitcast(builder.sub(bits, k), emit.vector), emit.constant(1.0))
    z = builder.fmul(m, m)
    even, odd = (
        emit.multiply_add(emit.multiply_add(emit.constant(_LOG[n + 4]), z, emit.constant(_LOG[n + 2])), z,
                          emit.constant(_LOG[n]))
        for n in (0, 1)
    )  # fmt: skip
    y = emit.multiply_add(z, emit.multiply_add(odd, m, even), m)
    scale = emit.constant(math.log(2) / 2**23)
    return builder.fadd(emit.multiply_add(builder.sitofp(k, emit.vector), scale, added), y)


class _Borders:
    """Emits what is known of the borders between groups, at positions in 1/128 bins."""

    def __init__(self, emit, sums, shares, i):
        self.emit, self.sums, self.shares = emit, sums, shares
        self.integers = ir.VectorType(I32, emit.lanes)
        self.inverse = emit.splat(emit.builder.fdiv(ir.Constant(F32, GROUPS), emit.builder.sitofp(i, F32)))

    def row(self, index):
        """Counts before a bin."""
        builder, emit = self.emit.builder, self.emit
        return emit.load(emit.pointer(builder.add(self.sums, builder.mul(index, I64(4 * LANES)))), self.integers)

    def at(self, position):
        """Of the bin at a border: its share before the border; counts before the bin, in it, in that share."""
        builder, emit = self.emit.builder, self.emit
        index = builder.ashr(position, I64(7))
        before, behind = self.row(index), self.row(builder.add(index, I64(1)))
        offset = builder.shl(builder.and_(position, I64(127)), I64(2))
        share = emit.splat(builder.load(emit.pointer(builder.add(self.shares, offset), F32)))
        cut = builder.sitofp(builder.sub(behind, before), emit.vector)
        return share, before, cut, builder.fmul(share, cut)

    def between(self, left, right):
        """Counts from bin to bin, counts from border to border, and v, of which the fill is the least."""
        builder, emit = self.emit.builder, self.emit
        bins = builder.sitofp(builder.sub(right[1], left[1]), emit.vector)
        mass = builder.fadd(bins, builder.fsub(right[3], left[3]))
        return bins, mass, emit.larger(builder.fmul(mass, self.inverse), emit.constant(float(_FILL)))


def _any_within(emit, sums, limits):
    """Whether any lane is not above its limit."""
    builder = emit.builder
    within = builder.fcmp_ordered("<=", sums, limits)
    return builder.icmp_unsigned("!=", builder.bitcast(within, ir.IntType(emit.lanes)), ir.IntType(emit.lanes)(0))


@intrinsic
def _begin(typingctx, sums, tails, i, shares, limits, total):
    """Begins the total of threshold i: its tail, and f of the last bin with the tail. Whether that is within any limit.

    Addresses: sums of int32 (BINS + 2, LANES), counts before each bin, after _PAD rows of zeros; tails of float32
    (BINS, LANES), in counts; shares of float32 (128,), k/128; limits and total of float32 (LANES,).
    """

    def codegen(context, builder, sig, args):
        sums, tails, i, shares, limits, total = args
        emit = Emitter(builder, LANES)
        borders = _Borders(emit, sums, shares, i)
        left, right = (borders.at(builder.mul(i, I64(j))) for j in (GROUPS - 1, GROUPS))
        value = borders.between(left, right)[2]
        tail = emit.load(emit.pointer(builder.add(tails, builder.mul(i, I64(4 * LANES)))))
        count = builder.sitofp(builder.sub(right[1], borders.row(builder.sub(i, I64(1)))), emit.vector)
        none = emit.constant(0.0)
        log = _emit_log(emit, value, none)

        def f(r):
            r = emit.larger(r, emit.constant(float(_FILL)))
            return builder.fadd(builder.fmul(r, builder.fsub(_emit_log(emit, r, none), log)), builder.fsub(value, r))

        # A tail that makes the bin negative is TNN's rounding; it never chooses such a threshold. That is seen later.
        bound = builder.fadd(tail, f(builder.fadd(count, tail)))
        # The last chunk will hold this bin without the tail.
        emit.store(builder.fsub(bound, f(count)), emit.pointer(total))
        return _any_within(emit, bound, emit.load(emit.pointer(limits)))

    return types.boolean(*[types.int64] * 6), codegen


@intrinsic
def _add_chunk(typingctx, sums, entropy, i, first, shares, shift, limits, total):
    """Adds f of the bins of groups first..first+_SIDE-1 at threshold i to a total. Whether it is within any limit.

    The bin at a border belongs to the group that begins in it; where the border does not cut it, the mixture of both
    values is that group's own. Addresses: entropy of float64 (BINS + 1, LANES), sums of ``d ln d - d`` before each bin;
    shift of float32 (LANES,), what logarithms are taken relative to, for the sake of their rounding; the others as in
    :func:`_begin`.
    """

    def codegen(context, builder, sig, args):
        sums, entropy, i, first, shares, shift, limits, total_at = args
        emit = Emitter(builder, LANES)
        borders = _Borders(emit, sums, shares, i)
        shift = emit.load(emit.pointer(shift))
        minus_shift = builder.fneg(shift)
        start = builder.mul(first, i)
        begin = borders.at(start)
        value_before = borders.between(borders.at(builder.sub(start, i)), begin)[2]
        slots = [emit.variable(value) for value in (*begin, value_before, builder.add(start, i))]
        inners, cuts = emit.variable(emit.constant(0.0)), emit.variable(emit.constant(0.0))
        with emit.loop(I64(_SIDE)):
            *left, before, position = (builder.load(slot) for slot in slots)
            right = borders.at(position)
            bins, _, value = borders.between(left, right)
            mixed = emit.multiply_add(left[0], builder.fsub(before, value), value)
            log, log_mixed = (_emit_log(emit, x, minus_shift) for x in (value, mixed))
            inner = builder.fsub(bins, left[2])
            builder.store(emit.multiply_add(inner, log, builder.load(inners)), inners)
            builder.store(emit.multiply_add(left[2], log_mixed, builder.load(cuts)), cuts)
            for slot, new in zip(slots, (*right, value, builder.add(position, i)), strict=True):
                builder.store(new, slot)
        *end, value_last, position = (builder.load(slot) for slot in slots)
        of_d = _entropy_between(emit, entropy, start, builder.sub(position, i), shift, builder.sub(end[1], begin[1]))
        # The sum of e: what the groups hold, with what the group before puts into the first bin, without what the last
        # one puts into the next bin.
        of_e = emit.multiply_add(value_before, begin[0], borders.between(begin, end)[1])
        of_e = builder.fsub(of_e, builder.fmul(value_last, end[0]))
        logs = builder.fadd(builder.load(inners), builder.load(cuts))
        total = emit.load(emit.pointer(total_at))
        total = builder.fadd(total, builder.fadd(builder.fsub(of_d, logs), of_e))
        emit.store(total, emit.pointer(total_at))
        return _any_within(emit, total, emit.load(emit.pointer(limits)))

    return types.boolean(*[types.int64] * 8), codegen


def _entropy_between(emit, entropy, start, end, shift, counts):
    """Sum of ``d (ln d - shift) - d`` over the bins between two borders, rounded to float32."""
    builder, doubles = emit.builder, ir.VectorType(ir.DoubleType(), emit.lanes)

    def row(position):
        index = builder.ashr(position, I64(7))
        return emit.load(emit.pointer(builder.add(entropy, builder.mul(index, I64(8 * LANES)))), doubles)

    shifted = builder.fmul(builder.fpext(shift, doubles), builder.sitofp(counts, doubles))
    return builder.fptrunc(builder.fsub(builder.fsub(row(end), row(start)), shifted), emit.vector)


# --- the search ---


@inline
def _table(address, rows, columns, like):
    return carray(_pointer(address, like), (rows, columns))


@kernel
def _load(counts, logs, lane, sums, prefix, entropy):
    # counts: int64 (BINS,); logs: float64 (n,), of the fill, 1, 2, ...; written, in column `lane`: sums int32
    # (BINS + 2, LANES) and prefix float64 (BINS + 1, LANES), counts before each bin; entropy float64 (BINS + 1, LANES),
    # sums of d ln d - d, d being a count and the fill. Returns the number of counts
    count = np.int64(0)
    prefix[0, lane] = entropy[0, lane] = 0
    for k in range(BINS):
        c = counts[k]
        sums[k, lane] = np.int32(count & _MOST)
        count += c
        prefix[k + 1, lane] = prefix[k, lane] + np.float64(c)
        v = np.float64(c) + _FILL64
        log = logs[c] if c < logs.size else math.log(np.float64(c))
        entropy[k + 1, lane] = entropy[k, lane] + v * (log - 1)
    sums[BINS, lane] = sums[BINS + 1, lane] = np.int32(count & _MOST)
    return count


@kernel
def _curve(sums, entropy, tails, totals, order, shares, curve, best):
    # sums, entropy, tails, shares: addresses, see _add_chunk; totals: float32 (LANES,), see _distribution; order: int64
    # (n,), thresholds in the order of work; written: curve float32 (BINS, LANES), the divergence times totals, inf
    # where it is too large; best float32 (LANES,)
    work = np.zeros((3, LANES), np.float32)
    total, shift, limit = work[0], work[1], work[2]
    total_at = np.int64(total.ctypes.data)
    shift_at, limit_at = np.int64(shift.ctypes.data), np.int64(limit.ctypes.data)
    whole = carray(_pointer(entropy + 8 * LANES * BINS, np.float64), (LANES,))
    best[:] = limit[:] = curve[:] = np.inf
    for lane in range(LANES):
        shift[lane] = np.float32(whole[lane] / np.float64(totals[lane]) + 1)
    for i in order:
        alive = _begin(sums, tails, i, shares, limit_at, total_at)
        first = np.int64(0)
        while alive and first < GROUPS:
            alive = _add_chunk(sums, entropy, i, first, shares, shift_at, limit_at, total_at)
            first += _SIDE
        if alive:
            for lane in range(LANES):
                curve[i, lane] = total[lane]
                best[lane] = min(best[lane], total[lane])
                limit[lane] = _limit(best[lane], totals[lane])


@inline
def _limit(best, total):
    return best * (_ONE + _TIE) + _DOUBT * total + _DOUBT_COUNTS


@kernel
def _exact(prefix, entropy, last, lane, i):
    # prefix, entropy: as from _load; last: float64, what the last bin holds, its tail included. The divergence of
    # threshold i in double, times the number of counts
    inverse = GROUPS / np.float64(i)
    terms = value = before = np.float64(0)
    for j in range(GROUPS):
        start, end = j * i, j * i + i
        left, right = start >> 7, end >> 7
        share, foot = np.float64(start & 127) / GROUPS, np.float64(end & 127) / GROUPS
        # The fill is added last: beside large sums it would be lost, and an empty group be without mass.
        cut = prefix[left + 1, lane] - prefix[left, lane]
        inner = prefix[right, lane] - prefix[left + 1, lane]
        mass = inner + (1 - share) * cut
        if foot > 0:
            mass += foot * (prefix[right + 1, lane] - prefix[right, lane])
        mass += _FILL64 / inverse
        cut += _FILL64
        inner += (right - left - 1) * _FILL64
        value = mass * inverse
        mixed = before * share + value * (1 - share)
        terms += inner * math.log(value) - (right - left - 1) * value + cut * math.log(mixed) - mixed
        before = value
    plain = prefix[i, lane] - prefix[i - 1, lane] + _FILL64
    entropy_of_last = last * math.log(last) if last > 0 else np.float64(0)
    return entropy[i, lane] - terms + entropy_of_last - plain * math.log(plain) - (last - plain) * math.log(value)


@kernel
def _choose(prefix, entropy, d, tails, total, lane, curve, limit, exact, candidate):
    # prefix, entropy: as from _load; d, tails: float32 (BINS,), total: float32, as from _distribution; curve: float32
    # (BINS, LANES); exact: float64 (BINS,), candidate: float32 (BINS,), scratch. The best of the thresholds whose curve
    # is within the limit
    least, ties, threshold = np.inf, 0, np.int32(GROUPS)
    for i in range(GROUPS, BINS):
        exact[i] = np.inf
        last = d[i - 1] + tails[i]
        # A negative last bin, rounding in the tail, is a NaN to TNN. Without a limit the curve itself may be NaN.
        if last >= 0 and not curve[i, lane] > limit:
            exact[i] = _exact(prefix, entropy, np.float64(last) * np.float64(total), lane, i)
            least = min(least, exact[i])
    least += least * np.float64(_TIE)
    for i in range(GROUPS, BINS):
        if exact[i] <= least:
            ties, threshold = ties + 1, np.int32(i) if ties == 0 else threshold
    if ties == 1:
        return threshold
    best = np.float32(np.inf)
    for i in range(GROUPS, BINS):
        if exact[i] <= least:
            divergence = _divergence(d, tails[i], i, candidate)
            if divergence < best:
                best, threshold = divergence, np.int32(i)
    return threshold


@kernel
def _search_task(op, index, scratch):
    # op words from ARGS on: addresses of rows int64 (slots,), where each histogram begins, and of thresholds int32
    # (slots,); slots; bytes of a count, 4 or 8; addresses of order and its size, of shares, of logs and its size
    args = words(op, program.WORDS)[program.ARGS :]
    slots = args[2]
    block = 4 * LANES * BINS
    padded = _table(scratch, _ROWS, LANES, np.int32)
    padded[:_PAD] = 0
    at = scratch + 4 * LANES * _ROWS
    d, tails = _table(at, LANES, BINS, np.float32), _table(at + block, LANES, BINS, np.float32)
    clipped, curve = _table(at + 2 * block, BINS, LANES, np.float32), _table(at + 3 * block, BINS, LANES, np.float32)
    at += 4 * block
    prefix = _table(at, BINS + 1, LANES, np.float64)
    entropy = _table(at + 8 * LANES * (BINS + 1), BINS + 1, LANES, np.float64)
    rest = at + 16 * LANES * (BINS + 1)
    counts, exact = words(rest, BINS), carray(_pointer(rest, np.float64), (BINS,))
    candidate = f32_view(rest + 8 * BINS, BINS)
    logs = carray(_pointer(args[7], np.float64), (args[8],))
    totals, best, numbers = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.int64)
    for lane in range(LANES):
        row = words(args[0], slots)[min(index * LANES + lane, slots - 1)]
        if args[3] == 8:
            counts[:] = words(row, BINS)
        else:
            counts[:] = i32_view(row, BINS)
        totals[lane] = _distribution(counts, d[lane], tails[lane])
        for i in range(GROUPS, BINS):
            clipped[i, lane] = tails[lane, i] * totals[lane]
        numbers[lane] = _load(counts, logs, lane, padded[_PAD:], prefix, entropy)
    _curve(scratch + 4 * LANES * _PAD, np.int64(entropy.ctypes.data), np.int64(clipped.ctypes.data), totals,
           words(args[4], args[5]), args[6], curve, best)  # fmt: skip
    for slot in range(index * LANES, min(index * LANES + LANES, slots)):
        lane = slot - index * LANES
        # Sums beyond int32 have overflowed: the float32 curve says nothing.
        limit = _limit(best[lane], totals[lane]) if numbers[lane] <= _MOST else np.float32(np.inf)
        i32_view(args[1], slots)[slot] = _choose(
            prefix, entropy, d[lane], tails[lane], totals[lane], lane, curve, limit, exact, candidate
        )


def search(rows: np.ndarray, count_bytes: int, thresholds: np.ndarray) -> np.ndarray:
    """:func:`kl_thresholds` of histograms anywhere in memory.

    Parameters
    ----------
    rows : int64 (slots,)
        Addresses of the first of each histogram's BINS counts, which must be alive.
    count_bytes : {4, 8}
        The counts are int32 or int64.
    thresholds : int32 (slots,)
        Written and returned.
    """
    if rows.size:
        coarse = np.arange(BINS - 1, GROUPS - 1, -_COARSE)
        order = np.concatenate([coarse, np.setdiff1d(np.arange(GROUPS, BINS), coarse)])
        data = program.data_address
        args = [data(rows), data(thresholds), rows.size, count_bytes, data(order), order.size, data(_SHARES),
                data(_LOGS), _LOGS.size]  # fmt: skip
        scratch = LANES * (4 * _ROWS + 16 * BINS + 16 * (BINS + 1)) + 12 * BINS
        program.run(program.new_op(_search_task, -(-rows.size // LANES), scratch, args))
    return thresholds


def kl_thresholds(counts: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """TNN's KL threshold of every histogram.

    Parameters
    ----------
    counts : int32 or int64 (slots, BINS) or wider
        C-contiguous; not negative. Columns from BINS on are not looked at.
    thresholds : int32 (slots,)
        Written and returned: GROUPS..BINS-1.
    """
    rows = program.data_address(counts) + counts.strides[0] * np.arange(len(counts), dtype=np.int64)
    return search(rows, counts.itemsize, thresholds)
