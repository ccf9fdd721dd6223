"""fp32 softmax along one axis of an array seen as (outer, n, inner).

Versions, slowest first: :func:`softmax_f32_naive`, TNN's loops; :func:`softmax_f32`, on all threads, with exponentials
of whole vectors, eight rows or many columns at a time. The sum runs along the axis in order, as in TNN, so the bits
depend neither on blocks nor on threads.
"""

from __future__ import annotations

import math

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.elementary import exp_f32
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import f32_view, largest_f32, load_words, prefer_wide_vectors

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
def _exponentials_in_place(x):
    # x: float32 (n,)
    prefer_wide_vectors()
    for i in range(x.size):
        x[i] = exp_f32(x[i])


@kernel
def _subtract(x, largest, out):
    # x, out: float32 (n,)
    for i in range(x.size):
        out[i] = x[i] - largest


@kernel
def _scale_in_place(x, factor):
    # x: float32 (n,)
    for i in range(x.size):
        x[i] *= factor


@kernel
def _sums(x, stride, n):
    # x: address of eight rows of float32 (n,), stride bytes apart. Each sum is in the order of its row; eight at once
    # hide the latency of an addition
    x0, x1, x2, x3 = f32_view(x, n), f32_view(x + stride, n), f32_view(x + 2 * stride, n), f32_view(x + 3 * stride, n)
    x += 4 * stride
    x4, x5, x6, x7 = f32_view(x, n), f32_view(x + stride, n), f32_view(x + 2 * stride, n), f32_view(x + 3 * stride, n)
    t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = np.float32(0)
    for j in range(n):
        t0 += x0[j]
        t1 += x1[j]
        t2 += x2[j]
        t3 += x3[j]
        t4 += x4[j]
        t5 += x5[j]
        t6 += x6[j]
        t7 += x7[j]
    return t0, t1, t2, t3, t4, t5, t6, t7


@kernel
def _softmax_rows(x, out, rows, n):
    # x, out: addresses of float32 (rows, n). The exponentials of short rows are taken together, because a loop of a few
    # elements would not be vectorized
    prefer_wide_vectors()
    together = max(np.int64(8), _TOGETHER // n // 8 * 8)
    size = 4 * n
    for first in range(0, rows, together):
        last = min(first + together, rows)
        for row in range(first, last):
            at = row * size
            _subtract(f32_view(x + at, n), largest_f32(x + at, n), f32_view(out + at, n))
        _exponentials_in_place(f32_view(out + first * size, (last - first) * n))
        for row in range(first, last, 8):
            count = min(np.int64(8), last - row)
            if count == 8:
                totals = _sums(out + row * size, size, n)
                for k in range(8):
                    _scale_in_place(f32_view(out + (row + k) * size, n), _ONE / totals[k])
            else:
                for k in range(row, last):
                    # With a stride of 0 the eight rows are one.
                    total = _sums(out + k * size, np.int64(0), n)[0]
                    _scale_in_place(f32_view(out + k * size, n), _ONE / total)


@kernel
def _largest(x, largest):
    # x, largest: float32 (columns,)
    for i in range(x.size):
        largest[i] = x[i] if x[i] > largest[i] else largest[i]


@kernel
def _exponentials(x, largest, out, total):
    # x, largest, out, total: float32 (columns,)
    prefer_wide_vectors()
    for i in range(x.size):
        e = exp_f32(x[i] - largest[i])
        out[i] = e
        total[i] += e


@kernel
def _softmax_columns(x, out, n, stride, columns, largest, total):
    # x, out: addresses of float32 (n, columns), rows stride bytes apart; largest, total: float32 (columns,)
    first = f32_view(x, columns)
    for i in range(columns):
        largest[i] = first[i]
        total[i] = np.float32(0)
    for j in range(1, n):
        _largest(f32_view(x + j * stride, columns), largest)
    for j in range(n):
        _exponentials(f32_view(x + j * stride, columns), largest, f32_view(out + j * stride, columns), total)
    for i in range(columns):
        total[i] = _ONE / total[i]
    for j in range(n):
        row = f32_view(out + j * stride, columns)
        for i in range(columns):
            row[i] *= total[i]


@kernel
def _rows_task(op, index, scratch):
    # op words from ARGS on: addresses of x and out; outer, n; rows per task
    prefer_wide_vectors()
    args = load_words(op + 8 * program.ARGS, 5)
    n = args[3]
    first = index * args[4]
    count = min(args[4], args[2] - first)
    at = 4 * first * n
    _softmax_rows(args[0] + at, args[1] + at, count, n)


@kernel
def _columns_task(op, index, scratch):
    # op words from ARGS on: addresses of x and out; n, inner. scratch: 8 * _COLUMNS bytes
    prefer_wide_vectors()
    args = load_words(op + 8 * program.ARGS, 4)
    n, inner = args[2], args[3]
    blocks = (inner + _COLUMNS - 1) // _COLUMNS
    c = index % blocks * _COLUMNS
    columns = min(np.int64(_COLUMNS), inner - c)
    at = 4 * (index // blocks * n * inner + c)
    _softmax_columns(args[0] + at, args[1] + at, n, 4 * inner, columns, f32_view(scratch, columns),
                     f32_view(scratch + 4 * _COLUMNS, columns))  # fmt: skip


def softmax_f32_op(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The op of a softmax; see :func:`softmax_f32`. The arrays must stay alive."""
    outer, n, inner = x.shape
    addresses = [program.data_address(x), program.data_address(out)]
    if inner > 1:
        return program.new_op(_columns_task, outer * -(-inner // _COLUMNS), 8 * _COLUMNS, [*addresses, n, inner])
    rows = max(8, _ELEMENTS // n // 8 * 8)
    return program.new_op(_rows_task, -(-outer // rows), 0, [*addresses, outer, n, rows])


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
