"""fp32 reduction of one axis of an array seen as (outer, n, inner): sum, maximum, minimum.

Versions, slowest first: :func:`reduce_f32_naive`, TNN's loops; :func:`reduce_f32`, on all threads, four rows or whole
vectors of columns at a time. Every output is folded in the order of the axis, as in TNN: the same bits on any number of
threads.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.elementary import bits_float, float_word
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.simd import f32_view, load_words

__all__ = ["MAX", "MIN", "SUM", "reduce_f32", "reduce_f32_naive", "reduce_f32_op"]

SUM, MAX, MIN = range(3)
_COLUMNS = 1024
_ELEMENTS = 32768
_ZERO = np.float32(0)
_LARGEST = np.float32(np.finfo(np.float32).max)


@inline
def _start(code):
    return _ZERO if code == SUM else (-_LARGEST if code == MAX else _LARGEST)


@kernel
def reduce_f32_naive(code, x, factor, out):
    # code: int; x: float32 (outer, n, inner); factor: float32; out: float32 (outer, inner)
    for o in range(x.shape[0]):
        for i in range(x.shape[2]):
            result = _start(code)
            for j in range(x.shape[1]):
                v = x[o, j, i]
                if code == SUM:
                    result += v * factor
                elif code == MAX:
                    result = v if v > result else result
                else:
                    result = v if v < result else result
            out[o, i] = result


@kernel
def _reduce_row(code, x, factor):
    # x: float32 (n,)
    result = _start(code)
    if code == SUM:
        for v in x:
            result += v * factor
    elif code == MAX:
        for v in x:
            result = v if v > result else result
    else:
        for v in x:
            result = v if v < result else result
    return result


@kernel
def _reduce_four_rows(code, x, n, factor, out):
    # x: float32 (4 * n,); out: float32 (4,). Four chains at once hide the latency of each
    r0 = r1 = r2 = r3 = _start(code)
    if code == SUM:
        for j in range(n):
            r0 += x[j] * factor
            r1 += x[n + j] * factor
            r2 += x[2 * n + j] * factor
            r3 += x[3 * n + j] * factor
    elif code == MAX:
        for j in range(n):
            r0 = x[j] if x[j] > r0 else r0
            r1 = x[n + j] if x[n + j] > r1 else r1
            r2 = x[2 * n + j] if x[2 * n + j] > r2 else r2
            r3 = x[3 * n + j] if x[3 * n + j] > r3 else r3
    else:
        for j in range(n):
            r0 = x[j] if x[j] < r0 else r0
            r1 = x[n + j] if x[n + j] < r1 else r1
            r2 = x[2 * n + j] if x[2 * n + j] < r2 else r2
            r3 = x[3 * n + j] if x[3 * n + j] < r3 else r3
    out[0], out[1], out[2], out[3] = r0, r1, r2, r3


@kernel
def _fold_columns(code, x, factor, out):
    # x, out: float32 (columns,)
    if code == SUM:
        for i in range(x.size):
            out[i] += x[i] * factor
    elif code == MAX:
        for i in range(x.size):
            out[i] = x[i] if x[i] > out[i] else out[i]
    else:
        for i in range(x.size):
            out[i] = x[i] if x[i] < out[i] else out[i]


@kernel
def _rows_task(op, index, scratch):
    # op words from ARGS on: addresses of x and out; outer, n; rows per task; code; factor (float32 bits)
    args = load_words(op + 8 * program.ARGS, 7)
    n, code, factor = args[3], args[5], bits_float(np.int32(args[6]))
    row = index * args[4]
    last = min(row + args[4], args[2])
    while row + 4 <= last:
        _reduce_four_rows(code, f32_view(args[0] + 4 * row * n, 4 * n), n, factor, f32_view(args[1] + 4 * row, 4))
        row += 4
    while row < last:
        f32_view(args[1] + 4 * row, 1)[0] = _reduce_row(code, f32_view(args[0] + 4 * row * n, n), factor)
        row += 1


@kernel
def _columns_task(op, index, scratch):
    # op words from ARGS on: addresses of x and out; n, inner; code; factor (float32 bits)
    args = load_words(op + 8 * program.ARGS, 6)
    n, inner, code, factor = args[2], args[3], args[4], bits_float(np.int32(args[5]))
    blocks = (inner + _COLUMNS - 1) // _COLUMNS
    o, c = index // blocks, index % blocks * _COLUMNS
    columns = min(np.int64(_COLUMNS), inner - c)
    out = f32_view(args[1] + 4 * (o * inner + c), columns)
    start = _start(code)
    for i in range(columns):
        out[i] = start
    for j in range(n):
        _fold_columns(code, f32_view(args[0] + 4 * ((o * n + j) * inner + c), columns), factor, out)


def reduce_f32_op(code: int, x: np.ndarray, factor: float, out: np.ndarray) -> np.ndarray:
    """The op of a reduction; see :func:`reduce_f32`. The arrays must stay alive."""
    outer, n, inner = x.shape
    addresses = [program.data_address(x), program.data_address(out)]
    word = float_word(factor)
    if inner > 1:
        return program.new_op(_columns_task, outer * -(-inner // _COLUMNS), 0, [*addresses, n, inner, code, word])
    rows = max(4, _ELEMENTS // n // 4 * 4)
    return program.new_op(_rows_task, -(-outer // rows), 0, [*addresses, outer, n, rows, code, word])


def reduce_f32(code: int, x: np.ndarray, factor: float, out: np.ndarray) -> np.ndarray:
    """Reduce the middle axis.

    Parameters
    ----------
    code : int
        :data:`SUM` of x * factor, from 0; :data:`MAX`, from the lowest finite number, and :data:`MIN`, from the
        highest, which both pass over NaN.
    x : float32 (outer, n, inner)
        C-contiguous, not empty.
    factor : float
        Rounded to float32; only :data:`SUM` reads it.
    out : float32 (outer, inner)
        C-contiguous; written and returned.
    """
    program.run(reduce_f32_op(code, x, factor, out))
    return out
