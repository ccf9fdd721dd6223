"""Sums for mean and variance in double, and the affine functions they end in: instance, group, layer normalization.

Versions, slowest first: the naive twins, TNN's loops; the task functions, on all threads. The squares are rounded to
float32 before they are added, as in TNN. The sums are taken over chunks of :data:`CHUNK` in a fixed order: they may
differ from those of the twins in the last bits of a double, but depend neither on the threads nor on the memory layout.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.elementary import bits_float, float_word
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import F32, I64, Emitter, f32_view, f64_view, load_words, prefer_wide_vectors

__all__ = [
    "CHUNK",
    "affine_f64",
    "affine_f64_naive",
    "layer_norm_f32",
    "layer_norm_f32_naive",
    "layer_norm_f32_op",
    "moments_f32",
    "moments_f32_naive",
]

#: Values added one after another.
CHUNK = 1024
_ELEMENTS = 16384
# Rows whose sums are taken at once: one alone would wait for each addition.
_ROWS = 4
_COLUMNS = 256
_NO = np.float64(0)


@kernel
def moments_f32_naive(x, sums):
    # x: float32 (outer, n, inner); sums: float64 (2, outer, inner)
    for o in range(x.shape[0]):
        for i in range(x.shape[2]):
            total = squares = _NO
            for j in range(x.shape[1]):
                v = x[o, j, i]
                total += np.float64(v)
                squares += np.float64(v * v)
            sums[0, o, i] = total
            sums[1, o, i] = squares


@kernel
def _moments_row(x):
    # x: float32 (n,). Four partial sums: one alone would wait for each addition
    n = x.size
    t0 = t1 = t2 = t3 = q0 = q1 = q2 = q3 = _NO
    for j in range(0, n - 3, 4):
        v0, v1, v2, v3 = x[j], x[j + 1], x[j + 2], x[j + 3]
        t0 += np.float64(v0)
        t1 += np.float64(v1)
        t2 += np.float64(v2)
        t3 += np.float64(v3)
        q0 += np.float64(v0 * v0)
        q1 += np.float64(v1 * v1)
        q2 += np.float64(v2 * v2)
        q3 += np.float64(v3 * v3)
    for j in range(n - n % 4, n):
        t0 += np.float64(x[j])
        q0 += np.float64(x[j] * x[j])
    return (t0 + t1) + (t2 + t3), (q0 + q1) + (q2 + q3)


@kernel
def _moments_four_rows(x, count, stride, totals, squares):
    # x: address of four rows of float32 (count,), stride bytes apart; totals, squares: float64 (4,). Each sum is in the
    # order of its row; four at once hide the latency of an addition
    x0, x1 = f32_view(x, count), f32_view(x + stride, count)
    x2, x3 = f32_view(x + 2 * stride, count), f32_view(x + 3 * stride, count)
    t0 = t1 = t2 = t3 = q0 = q1 = q2 = q3 = _NO
    for j in range(count):
        t0 += np.float64(x0[j])
        t1 += np.float64(x1[j])
        t2 += np.float64(x2[j])
        t3 += np.float64(x3[j])
        q0 += np.float64(x0[j] * x0[j])
        q1 += np.float64(x1[j] * x1[j])
        q2 += np.float64(x2[j] * x2[j])
        q3 += np.float64(x3[j] * x3[j])
    totals[0], totals[1], totals[2], totals[3] = t0, t1, t2, t3
    squares[0], squares[1], squares[2], squares[3] = q0, q1, q2, q3


@kernel
def _moments_columns(x, totals, squares):
    # x: float32 (columns,); totals, squares: float64 (columns,)
    for i in range(x.size):
        totals[i] += np.float64(x[i])
        squares[i] += np.float64(x[i] * x[i])


@kernel
def _rows_task(op, index, scratch):
    # op words from ARGS on: addresses of x, of parts, float64 (chunks, 2, outer); outer, n; rows per task
    args = load_words(op + 8 * program.ARGS, 5)
    outer, n, rows = args[2], args[3], args[4]
    chunks = (n + CHUNK - 1) // CHUNK
    part = index % chunks
    count = min(np.int64(CHUNK), n - part * CHUNK)
    row = index // chunks * rows
    last = min(row + rows, outer)
    while row < last:
        # The last rows alone: with a stride of 0 the four are one.
        together = row + 4 <= last
        at, to = args[0] + 4 * (row * n + part * CHUNK), args[1] + 8 * (2 * part * outer + row)
        if together:
            _moments_four_rows(at, count, 4 * n, f64_view(to, 4), f64_view(to + 8 * outer, 4))
            row += 4
        else:
            _moments_four_rows(at, count, np.int64(0), f64_view(scratch, 4), f64_view(scratch + 32, 4))
            f64_view(to, 1)[0] = f64_view(scratch, 1)[0]
            f64_view(to + 8 * outer, 1)[0] = f64_view(scratch + 32, 1)[0]
            row += 1


@kernel
def _columns_task(op, index, scratch):
    # op words from ARGS on: addresses of x, of parts, float64 (chunks, 2, outer, inner); outer, n, inner
    args = load_words(op + 8 * program.ARGS, 5)
    outer, n, inner = args[2], args[3], args[4]
    chunks = (n + CHUNK - 1) // CHUNK
    part, index = index % chunks, index // chunks
    first = part * CHUNK
    blocks = (inner + _COLUMNS - 1) // _COLUMNS
    o, c = index // blocks, index % blocks * _COLUMNS
    columns = min(np.int64(_COLUMNS), inner - c)
    totals = f64_view(args[1] + 8 * ((2 * part * outer + o) * inner + c), columns)
    squares = f64_view(args[1] + 8 * (((2 * part + 1) * outer + o) * inner + c), columns)
    for i in range(columns):
        totals[i] = squares[i] = _NO
    for j in range(first, min(first + CHUNK, n)):
        _moments_columns(f32_view(args[0] + 4 * ((o * n + j) * inner + c), columns), totals, squares)


def moments_f32(x: np.ndarray) -> np.ndarray:
    """Sums of the values and of their float32 squares along the middle axis.

    Parameters
    ----------
    x : float32 (outer, n, inner)
        C-contiguous, not empty.

    Returns
    -------
    float64 (2, outer, inner)
    """
    outer, n, inner = x.shape
    chunks = -(-n // CHUNK)
    parts = np.empty((chunks, 2, outer, inner), np.float64)
    args = [program.data_address(x), program.data_address(parts), outer, n]
    if inner > 1:
        op = program.new_op(_columns_task, chunks * outer * -(-inner // _COLUMNS), 0, [*args, inner])
    else:
        rows = 4 * max(1, _ELEMENTS // 4 // min(n, CHUNK))
        op = program.new_op(_rows_task, chunks * -(-outer // rows), 64, [*args, rows])
    program.run(op)
    sums: np.ndarray = parts.sum(axis=0)
    return sums


@kernel
def affine_f64_naive(x, k, b, out):
    # x, out: float32 (outer, n, inner); k, b: float64 (outer, inner)
    for o in range(x.shape[0]):
        for j in range(x.shape[1]):
            for i in range(x.shape[2]):
                out[o, j, i] = np.float32(np.float64(x[o, j, i]) * k[o, i] + b[o, i])


@kernel
def _affine_row(x, k, b, out):
    # x, out: float32 (n,); k, b: float64 (n,), or (1,) for all
    if k.size == 1:
        factor, summand = k[0], b[0]
        for i in range(x.size):
            out[i] = np.float32(np.float64(x[i]) * factor + summand)
    else:
        for i in range(x.size):
            out[i] = np.float32(np.float64(x[i]) * k[i] + b[i])


@kernel
def _affine_task(op, index, scratch):
    # op words from ARGS on: addresses of x, k, b, out; outer, n, inner; chunk of n
    args = load_words(op + 8 * program.ARGS, 8)
    n, inner, chunk = args[5], args[6], args[7]
    chunks = (n + chunk - 1) // chunk
    o, first = index // chunks, index % chunks * chunk
    count = min(chunk, n - first)
    k, b = f64_view(args[1] + 8 * o * inner, inner), f64_view(args[2] + 8 * o * inner, inner)
    rows, columns = (np.int64(1), count) if inner == 1 else (count, inner)
    at = 4 * (o * n + first) * inner
    for _ in range(rows):
        _affine_row(f32_view(args[0] + at, columns), k, b, f32_view(args[3] + at, columns))
        at += 4 * columns


def affine_f64(x: np.ndarray, k: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    """``x * k + b`` in double, rounded once.

    Parameters
    ----------
    x : float32 (outer, n, inner)
        C-contiguous.
    k, b : float64 (outer, inner)
        C-contiguous.
    out : float32 (outer, n, inner)
        C-contiguous; written and returned.
    """
    outer, n, inner = x.shape
    chunk = max(1, min(n, _ELEMENTS // inner))
    address = program.data_address
    args = [address(x), address(k), address(b), address(out), outer, n, inner, chunk]
    program.run(program.new_op(_affine_task, outer * -(-n // chunk), 0, args))
    return out


@kernel
def layer_norm_f32_naive(x, k, b, eps, out):
    # x, out: float32 (rows, n); k, b: float32 (n,); eps: float32
    n = x.shape[1]
    for r in range(x.shape[0]):
        total = squares = _NO
        for j in range(n):
            total += np.float64(x[r, j])
            squares += np.float64(x[r, j] * x[r, j])
        mean = total / n
        v = 1.0 / math.sqrt(squares / n - mean * mean + np.float64(eps))
        for j in range(n):
            summand = np.float32(np.float64(b[j]) - mean * v * np.float64(k[j]))
            out[r, j] = np.float32(np.float64(x[r, j]) * v * np.float64(k[j]) + np.float64(summand))


@intrinsic
def _row_sums(typingctx, x, stride, count, sums):
    """The four partial sums of :func:`_moments_row` and those of the squares, of :data:`_ROWS` rows at once.

    x: address of rows of float32 (count,), stride bytes apart; sums: address of float64 (_ROWS, 8). A count that is no
    multiple of 4 leaves the last values out.
    """
    if (x, stride, count, sums) != (types.int64,) * 4:
        return None

    def codegen(context, builder, sig, args):
        x, stride, count, sums = args
        narrow, wide = Emitter(builder, 4), Emitter(builder, 4, ir.DoubleType())
        rows = [narrow.pointer(builder.add(x, builder.mul(stride, I64(r))), F32) for r in range(_ROWS)]
        slots = [[wide.variable(wide.constant(0.0)) for _ in range(2)] for _ in rows]
        with narrow.loop(builder.sdiv(count, I64(4))) as j:
            for row, pair in zip(rows, slots, strict=True):
                value = narrow.load(narrow.at(row, builder.mul(j, I64(4))))
                for slot, term in zip(pair, (value, builder.fmul(value, value)), strict=True):
                    builder.store(builder.fadd(builder.load(slot), builder.fpext(term, wide.vector)), slot)
        to = wide.pointer(sums, ir.DoubleType())
        for r, pair in enumerate(slots):
            for i, slot in enumerate(pair):
                wide.store(builder.load(slot), wide.at(to, 8 * r + 4 * i))
        return context.get_dummy_value()

    return types.void(x, stride, count, sums), codegen


@kernel
def _layer_norm_row(x, k, b, eps, sums, out):
    # x, k, b, out: float32 (n,); eps: float64; sums: float64 (8,) of _row_sums
    n = x.size
    t0, q0 = sums[0], sums[4]
    for j in range(n - n % 4, n):
        t0 += np.float64(x[j])
        q0 += np.float64(x[j] * x[j])
    total, squares = (t0 + sums[1]) + (sums[2] + sums[3]), (q0 + sums[5]) + (sums[6] + sums[7])
    mean = total / n
    v = 1.0 / math.sqrt(squares / n - mean * mean + eps)
    shift = mean * v
    for j in range(n):
        factor = np.float64(k[j])
        summand = np.float32(np.float64(b[j]) - shift * factor)
        out[j] = np.float32(np.float64(x[j]) * v * factor + np.float64(summand))


@kernel
def _layer_norm_task(op, index, scratch):
    # op words from ARGS on: addresses of x, k, b, out; rows, n; rows per task; eps (float32 bits)
    args = load_words(op + 8 * program.ARGS, 8)
    n = args[5]
    k, b = f32_view(args[1], n), f32_view(args[2], n)
    eps = np.float64(bits_float(np.int32(args[7])))
    first = index * args[6]
    end = min(first + args[6], args[4])
    sums = f64_view(scratch, 8 * _ROWS)
    prefer_wide_vectors()
    row = first
    while row < end:
        # Several rows at once, the last ones by themselves.
        is_full = end - row >= _ROWS
        _row_sums(args[0] + 4 * row * n, 4 * n if is_full else np.int64(0), n, scratch)
        for r in range(_ROWS if is_full else 1):
            at = 4 * row * n
            _layer_norm_row(f32_view(args[0] + at, n), k, b, eps, sums[8 * r : 8 * r + 8], f32_view(args[3] + at, n))
            row += 1


def layer_norm_f32_op(x: np.ndarray, k: np.ndarray, b: np.ndarray, eps: float, out: np.ndarray) -> np.ndarray:
    """The op of :func:`layer_norm_f32`. The arrays must stay alive."""
    rows, n = x.shape
    together = max(1, _ELEMENTS // 4 // n // _ROWS) * _ROWS
    address = program.data_address
    args = [address(x), address(k), address(b), address(out), rows, n, together, float_word(eps)]
    return program.new_op(_layer_norm_task, -(-rows // together), 64 * _ROWS, args)


def layer_norm_f32(x: np.ndarray, k: np.ndarray, b: np.ndarray, eps: float, out: np.ndarray) -> np.ndarray:
    """``(x - mean) / sqrt(var + eps) * k + b`` of each row; var is mean(x**2) - mean**2, not clamped, as in TNN.

    Parameters
    ----------
    x : float32 (rows, n)
        C-contiguous.
    k, b : float32 (n,)
        C-contiguous.
    eps : float
        Rounded to float32.
    out : float32 (rows, n)
        C-contiguous; written and returned.
    """
    program.run(layer_norm_f32_op(x, k, b, eps, out))
    return out
