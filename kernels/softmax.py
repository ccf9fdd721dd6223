"""fp32 softmax along one axis of an array seen as (outer, n, inner).

Versions, slowest first: :func:`softmax_f32_naive`, TNN's loops; :func:`softmax_f32`, on all threads, with exponentials
of whole vectors, four rows or many columns at a time. The sum runs along the axis in order, as in TNN, so the bits
depend neither on blocks nor on threads.
"""

from __future__ import annotations

import math

import numpy as np
from tnnquant.kernels import program
from tnnquant.kernels.elementary import exp_f32
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import f32_view, words

__all__ = ["softmax_f32", "softmax_f32_naive", "softmax_f32_op"]

_ONE = np.float32(1)
_COLUMNS = 512
_ELEMENTS = 16384
_TOGETHER = 1024


@kernel
def softmax_f32_naive(x, out):
    # x, out: float32 (outer, n, inner)
    for o in range(x.shape[0]):
        for i in range(x.shape[2]):
            largest = x[o, 0, i]
            for j in range(1, x.shape[1]):
                largest = x[o, j, i] if x[o, j, i] > largest else largest
            total = np.float32(0)
            for j in range(x.shape[1]):
                out[o, j, i] = math.exp(x[o, j, i] - largest)
                total += out[o, j, i]
            for j in range(x.shape[1]):
                out[o, j, i] *= _ONE / total


@kernel
def _subtract_maxima(x, n, out):
    # x, out: float32 (4 * n,): four rows at once, which hides the latency of a comparison
    m0, m1, m2, m3 = x[0], x[n], x[2 * n], x[3 * n]
    for j in range(n):
        m0 = x[j] if x[j] > m0 else m0
        m1 = x[n + j] if x[n + j] > m1 else m1
        m2 = x[2 * n + j] if x[2 * n + j] > m2 else m2
        m3 = x[3 * n + j] if x[3 * n + j] > m3 else m3
    for j in range(n):
        out[j] = x[j] - m0
        out[n + j] = x[n + j] - m1
        out[2 * n + j] = x[2 * n + j] - m2
        out[3 * n + j] = x[3 * n + j] - m3


@kernel
def _exponentials_in_place(out):
    # out: float32 (n,)
    for i in range(out.size):
        out[i] = exp_f32(out[i])


@kernel
def _divide_by_sums(out, n):
    # out: float32 (4 * n,): four rows at once
    t0 = t1 = t2 = t3 = np.float32(0)
    for j in range(n):
        t0 += out[j]
        t1 += out[n + j]
        t2 += out[2 * n + j]
        t3 += out[3 * n + j]
    t0, t1, t2, t3 = _ONE / t0, _ONE / t1, _ONE / t2, _ONE / t3
    for j in range(n):
        out[j] *= t0
        out[n + j] *= t1
        out[2 * n + j] *= t2
        out[3 * n + j] *= t3


@kernel
def _softmax_row(x, out):
    # x, out: float32 (n,)
    largest = x[0]
    for v in x:
        largest = v if v > largest else largest
    for j in range(x.size):
        out[j] = x[j] - largest
    _exponentials_in_place(out)
    total = np.float32(0)
    for v in out:
        total += v
    total = _ONE / total
    for j in range(out.size):
        out[j] *= total


@kernel
def _softmax_rows(x, out, rows, n):
    # x, out: float32 (rows * n,). Short rows are raised together: a loop of a few elements would not be vectorized
    together = max(np.int64(4), _TOGETHER // n // 4 * 4)
    row = np.int64(0)
    while row + 4 <= rows:
        count = min(together, (rows - row) // 4 * 4)
        for r in range(row, row + count, 4):
            _subtract_maxima(x[r * n : (r + 4) * n], n, out[r * n : (r + 4) * n])
        _exponentials_in_place(out[row * n : (row + count) * n])
        for r in range(row, row + count, 4):
            _divide_by_sums(out[r * n : (r + 4) * n], n)
        row += count
    for r in range(row, rows):
        _softmax_row(x[r * n : (r + 1) * n], out[r * n : (r + 1) * n])


@kernel
def _largest(x, largest):
    # x, largest: float32 (columns,)
    for i in range(x.size):
        largest[i] = x[i] if x[i] > largest[i] else largest[i]


@kernel
def _exponentials(x, largest, out, total):
    # x, largest, out, total: float32 (columns,)
    for i in range(x.size):
        e = exp_f32(x[i] - largest[i])
        out[i] = e
        total[i] += e


@kernel
def _softmax_columns(x, out, n, stride, columns, largest, total):
    # x, out: addresses of float32 (n, columns), rows stride bytes apart; largest, total: float32 (columns,)
    largest[:] = f32_view(x, columns)
    for j in range(1, n):
        _largest(f32_view(x + j * stride, columns), largest)
    total[:] = np.float32(0)
    for j in range(n):
        _exponentials(f32_view(x + j * stride, columns), largest, f32_view(out + j * stride, columns), total)
    for i in range(columns):
        total[i] = _ONE / total[i]
    for j in range(n):
        row = f32_view(out + j * stride, columns)
        for i in range(columns):
            row[i] *= total[i]


@kernel
def _softmax_task(op, index, scratch):
    # op words from ARGS on: addresses of x and out; outer, n, inner; rows a task (inner 1). scratch: 8 * _COLUMNS bytes
    args = words(op, program.WORDS)[program.ARGS :]
    outer, n, inner, rows = args[2], args[3], args[4], args[5]
    if inner == 1:
        first = index * rows
        count = min(rows, outer - first)
        at = 4 * first * n
        _softmax_rows(f32_view(args[0] + at, count * n), f32_view(args[1] + at, count * n), count, n)
        return
    blocks = (inner + _COLUMNS - 1) // _COLUMNS
    c = index % blocks * _COLUMNS
    columns = min(np.int64(_COLUMNS), inner - c)
    at = 4 * (index // blocks * n * inner + c)
    _softmax_columns(args[0] + at, args[1] + at, n, 4 * inner, columns, f32_view(scratch, columns),
                     f32_view(scratch + 4 * _COLUMNS, columns))  # fmt: skip


def softmax_f32_op(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The op of a softmax; see :func:`softmax_f32`. The arrays must stay alive."""
    outer, n, inner = x.shape
    rows = max(4, _ELEMENTS // n // 4 * 4)
    tasks = -(-outer // rows) if inner == 1 else outer * -(-inner // _COLUMNS)
    args = [program.data_address(x), program.data_address(out), outer, n, inner, rows]
    return program.new_op(_softmax_task, tasks, 8 * _COLUMNS, args)


def softmax_f32(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """``exp(x - max) / sum(exp(x - max))`` along the middle axis; the division is a product with 1 / sum, as in TNN.

    Parameters
    ----------
    x : float32 (outer, n, inner)
        C-contiguous, not empty.
    out : float32 (outer, n, inner)
        C-contiguous; written and returned.
    """
    program.run(softmax_f32_op(x, out))
    return out
