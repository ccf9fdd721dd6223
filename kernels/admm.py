"""TNN's ADMM weight quantization (docs/tnn-format.md, 7.7.1): codes and scale of a group refined alternately.

``q = clamp(round(w / (s + 1e-9)))``, then ``s = sum(w*q) / (sum(q*q) + 1e-9)``, 1000 times from
``s = max|w| / (127*1.25)``. TNN's sums are sequential float32 sums, whose rounding shows in large groups, so each group
is summed in TNN's order.

Versions, slowest first:

* :func:`admm_naive`: 1000 rounds, as TNN.
* :func:`admm`: stops when a scale comes back, because everything repeats from there on: the codes and scale are those
  of 1000 rounds. Convolutions take 10-150 rounds. Each vector lane takes a group (:func:`_lanes_task`), so that
  sequential sums cost no more than others. Where there are too few groups for that, the terms are computed as vectors
  and added one by one (:func:`_single_task`), 3 cycles per weight and round.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.rounding import clamp_i8, round_half_away
from tnnquant.kernels.simd import F32, I32, I64, Emitter, _pointer, f32_view, i8_view, words
from tnnquant.kernels.target import isa

__all__ = ["ROUNDS", "admm", "admm_naive"]

ROUNDS = 1000
LANES = max(8, isa().lanes)
_EPSILON = np.float32(1e-9)
_ZERO = np.float32(0)


@inline
def _code(weight, divisor):
    return clamp_i8(round_half_away(weight / divisor))


@inline
def _first_scale(weights):
    # weights: float32 (n,)
    peak = _ZERO
    for w in weights:
        peak = max(peak, np.float32(abs(w)))
    return np.float32(np.float64(peak) / (127 * 1.25))


@kernel
def admm_naive(weights, codes, scales):
    # weights: float32 (groups, n); codes: int8 (groups, n); scales: float32 (groups,)
    for g in range(weights.shape[0]):
        scale = _first_scale(weights[g])
        for _ in range(ROUNDS):
            products = squares = _ZERO
            divisor = scale + _EPSILON
            for j in range(weights.shape[1]):
                q = _code(weights[g, j], divisor)
                codes[g, j] = np.int8(q)
                products += weights[g, j] * q
                squares += q * q
            scale = products / (squares + _EPSILON)
        scales[g] = scale


def _emit_codes(emit, weights, divisor):
    """Codes of a vector of weights, as float32."""
    builder = emit.builder
    q = emit.call(f"llvm.round.v{emit.lanes}f32", emit.vector, builder.fdiv(weights, divisor))
    q = emit.larger(q, emit.constant(-127.0))
    return emit.smaller(q, emit.constant(127.0))


@intrinsic
def _lanes_round(typingctx, tile, count, divisors, products, squares):
    """Sums of w*q and of q*q of LANES groups. Addresses: tile float32 (count, LANES), the others float32 (LANES,)."""

    def codegen(context, builder, sig, args):
        tile, count, divisors, products, squares = args
        emit = Emitter(builder, LANES)
        divisor = emit.load(emit.pointer(divisors))
        sums = [emit.variable(emit.constant(0.0)) for _ in range(2)]
        with emit.loop(count) as j:
            weights = emit.load(emit.pointer(builder.add(tile, builder.mul(j, I64(4 * LANES)))))
            q = _emit_codes(emit, weights, divisor)
            for sum_, other in zip(sums, (weights, q), strict=True):
                builder.store(builder.fadd(builder.load(sum_), builder.fmul(other, q)), sum_)
        for sum_, address in zip(sums, (products, squares), strict=True):
            emit.store(builder.load(sum_), emit.pointer(address))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@intrinsic
def _single_round(typingctx, weights, count, divisor):
    """Sums of w*q and of q*q of one group: weights, the address of float32 (count,), is read to a multiple of LANES."""

    def codegen(context, builder, sig, args):
        weights, count, divisor = args
        emit = Emitter(builder, LANES)
        wide_divisor = emit.splat(divisor)
        pair = ir.VectorType(F32, 2)
        sums = emit.variable(ir.Constant(pair, [0.0, 0.0]))
        with emit.loop(builder.sdiv(builder.add(count, I64(LANES - 1)), I64(LANES))) as v:
            w = emit.load(emit.at(emit.pointer(weights, F32), builder.mul(v, I64(LANES))))
            q = _emit_codes(emit, w, wide_divisor)
            products, squares = builder.fmul(w, q), builder.fmul(q, q)
            total = builder.load(sums)
            for lane in range(LANES):
                mask = ir.Constant(ir.VectorType(I32, 2), [lane, LANES + lane])
                total = builder.fadd(total, builder.shuffle_vector(products, squares, mask))
            builder.store(total, sums)
        total = builder.load(sums)
        parts = [builder.extract_element(total, I32(i)) for i in range(2)]
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(types.float32, 2)(types.int64, types.int64, types.float32), codegen


@inline
def _period(rounds, scale, mark, marked):
    """After how many rounds the scale came back, 0 if it has not; marked are those after 0, 1, 2, 4, 8, ... rounds."""
    return rounds - marked if scale == mark else np.int64(0)


@kernel
def _lanes_task(op, index, scratch):
    # op words from ARGS on: addresses of weights float32 (groups, n), codes int8 (groups, n), scales float32 (groups,);
    # groups, n. Scratch: float32 (n, LANES)
    args = words(op, program.WORDS)[program.ARGS :]
    groups, n = args[3], args[4]
    tile = carray(_pointer(scratch, np.float32), (n, LANES))
    work = np.zeros((6, LANES), np.float32)
    scale, divisor, products, squares, mark = work[0], work[1], work[2], work[3], work[4]
    period = np.zeros(LANES, np.int64)
    for lane in range(LANES):
        row = f32_view(args[0] + 4 * n * min(index * LANES + lane, groups - 1), n)
        scale[lane] = _first_scale(row)
        for j in range(n):
            tile[j, lane] = row[j]
    marked = np.int64(0)
    mark[:] = scale
    rounds = np.int64(0)
    waiting = True
    while waiting and rounds < ROUNDS:
        for lane in range(LANES):
            divisor[lane] = scale[lane] + _EPSILON
        _lanes_round(scratch, n, np.int64(divisor.ctypes.data), np.int64(products.ctypes.data),
                     np.int64(squares.ctypes.data))  # fmt: skip
        rounds += 1
        waiting = False
        for lane in range(LANES):
            scale[lane] = products[lane] / (squares[lane] + _EPSILON)
            if period[lane] == 0:
                period[lane] = _period(rounds, scale[lane], mark[lane], marked)
            # A scale that repeats is the one of the last round when the rounds left are a multiple of its period.
            waiting |= period[lane] == 0 or (ROUNDS - rounds) % period[lane] != 0
        if rounds == max(np.int64(1), 2 * marked):
            marked = rounds
            mark[:] = scale
    for lane in range(min(np.int64(LANES), groups - index * LANES)):
        g = index * LANES + lane
        f32_view(args[2], groups)[g] = scale[lane]
        codes = i8_view(args[1] + n * g, n)
        for j in range(n):
            codes[j] = np.int8(_code(tile[j, lane], divisor[lane]))


@kernel
def _single_task(op, index, scratch):
    # op words from ARGS on: as for _lanes_task. Scratch: float32 (n + LANES,)
    args = words(op, program.WORDS)[program.ARGS :]
    groups, n = args[3], args[4]
    row = f32_view(args[0] + 4 * n * index, n)
    padded = f32_view(scratch, n + LANES)
    padded[:n] = row
    padded[n:] = 0  # read by whole vectors: adds zeros to both sums
    scale = mark = _first_scale(row)
    divisor = scale
    marked = rounds = period = np.int64(0)
    while rounds < ROUNDS and (period == 0 or (ROUNDS - rounds) % period != 0):
        divisor = scale + _EPSILON
        products, squares = _single_round(scratch, n, divisor)
        rounds += 1
        scale = products / (squares + _EPSILON)
        if period == 0:
            period = _period(rounds, scale, mark, marked)
        if rounds == max(np.int64(1), 2 * marked):
            marked, mark = rounds, scale
    f32_view(args[2], groups)[index] = scale
    codes = i8_view(args[1] + n * index, n)
    for j in range(n):
        codes[j] = np.int8(_code(row[j], divisor))


def admm(weights: np.ndarray, codes: np.ndarray, scales: np.ndarray) -> None:
    """Quantize every group of weights.

    Parameters
    ----------
    weights : float32 (groups, n)
        C-contiguous, finite.
    codes : int8 (groups, n)
        Written: -127..127, those of the scale before the last one.
    scales : float32 (groups,)
        Written; 0 for a group of zeros.
    """
    groups, n = weights.shape
    if not weights.size:
        scales[:] = 0
        return
    args = [program.data_address(array) for array in (weights, codes, scales)]
    if groups < LANES // 2:
        program.run(program.new_op(_single_task, groups, 4 * (n + LANES), [*args, groups, n]))
    else:
        program.run(program.new_op(_lanes_task, -(-groups // LANES), 4 * n * LANES, [*args, groups, n]))
