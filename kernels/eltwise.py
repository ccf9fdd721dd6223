"""fp32 arithmetic element by element: activations of one array, sums and products of two, one factor a channel.

Versions, slowest first: the naive twins, one scalar formula an element; the task functions, whose inner loops LLVM
vectorizes, on all threads in blocks of :data:`BLOCK` elements. Every element is one fixed sequence of float32
operations, so the bits depend neither on the blocks nor on the threads; against the twins an exponential may be off
by one last bit.
"""

from __future__ import annotations

import math

import numpy as np
from tnnquant.kernels import program
from tnnquant.kernels.elementary import bits_float, exp_f32, float_word
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import f32_view, words

__all__ = [
    "ADD", "AFFINE", "BLOCK", "BOUND", "CLIP", "DIV", "HARD_SWISH", "MUL", "PRELU", "SIGMOID", "SUB", "SWISH",
    "binary_f32", "binary_f32_naive", "channel_f32", "channel_f32_naive", "map_f32", "map_f32_naive",
]  # fmt: skip

#: Functions of :func:`map_f32`, with their parameters a, b.
BOUND, CLIP, SIGMOID, SWISH, HARD_SWISH = range(5)
#: Operations of :func:`binary_f32`.
ADD, SUB, MUL, DIV = range(4)
#: Functions of :func:`channel_f32`.
AFFINE, PRELU = range(2)
#: Elements of a task, about: 64 KiB of input.
BLOCK = 16384
_ROW = 512

_ZERO, _ONE = np.float32(0), np.float32(1)


@kernel
def map_f32_naive(code, x, a, b, out):
    # x: float32 (n,); a, b: float32; out: float32 (n,)
    for i in range(x.size):
        v = x[i]
        if code == BOUND:  # of NaN: a
            v = v if v > a else a
            v = v if v < b else b
        elif code == CLIP:  # of NaN: b
            v = v if v < b else b
            v = a if v < a else v
        elif code == SIGMOID:
            v = _ONE / (_ONE + math.exp(-v))
        elif code == SWISH:
            v = v / (_ONE + math.exp(-v))
        else:
            gate = v * a + b
            gate = _ONE if gate > _ONE else gate
            v = v * (_ZERO if gate < _ZERO else gate)
        out[i] = v


@kernel
def _map_task(op, index, scratch):
    # op words from ARGS on: addresses of x and out, count, block, code, a, b (float32 bits)
    args = words(op, program.WORDS)[program.ARGS :]
    first = index * args[3]
    n = min(args[3], args[2] - first)
    x, out = f32_view(args[0] + 4 * first, n), f32_view(args[1] + 4 * first, n)
    code = args[4]
    a, b = bits_float(np.int32(args[5])), bits_float(np.int32(args[6]))
    # One loop a function: a test inside the loop would keep LLVM from vectorizing it.
    if code == BOUND:
        for i in range(n):
            v = x[i] if x[i] > a else a
            out[i] = v if v < b else b
    elif code == CLIP:
        for i in range(n):
            v = x[i] if x[i] < b else b
            out[i] = a if v < a else v
    elif code == SIGMOID:
        for i in range(n):
            out[i] = _ONE / (_ONE + exp_f32(-x[i]))
    elif code == SWISH:
        for i in range(n):
            out[i] = x[i] / (_ONE + exp_f32(-x[i]))
    else:
        for i in range(n):
            gate = x[i] * a + b
            gate = _ONE if gate > _ONE else gate
            out[i] = x[i] * (_ZERO if gate < _ZERO else gate)


def map_f32(code: int, x: np.ndarray, a: float, b: float, out: np.ndarray) -> np.ndarray:
    """A function of every element.

    Parameters
    ----------
    code : int
        :data:`BOUND` min(b, max(a, x)), a where x is NaN; :data:`CLIP` max(a, min(b, x)), max(a, b) where x is NaN;
        :data:`SIGMOID` 1 / (1 + exp(-x)); :data:`SWISH` x / (1 + exp(-x)); :data:`HARD_SWISH`
        x * max(min(x * a + b, 1), 0).
    x : float32, C-contiguous
    a, b : float
        Parameters of the function, rounded to float32.
    out : float32, C-contiguous, as many elements
        Written and returned.
    """
    address = program.data_address
    args = [address(x), address(out), x.size, BLOCK, code, float_word(a), float_word(b)]
    program.run(program.new_op(_map_task, -(-x.size // BLOCK), 0, args))
    return out


@kernel
def binary_f32_naive(code, a, a_strides, b, b_strides, out):
    # a, b: float32 flat; a_strides, b_strides: int64 (3,), in elements; out: float32 (outer, rows, columns)
    for o in range(out.shape[0]):
        for r in range(out.shape[1]):
            for c in range(out.shape[2]):
                u = a[o * a_strides[0] + r * a_strides[1] + c * a_strides[2]]
                v = b[o * b_strides[0] + r * b_strides[1] + c * b_strides[2]]
                if code == ADD:
                    out[o, r, c] = u + v
                elif code == SUB:
                    out[o, r, c] = u - v
                elif code == MUL:
                    out[o, r, c] = u * v
                else:
                    out[o, r, c] = u / v


@kernel
def _rows(code, a, b, out):
    # a, b, out: float32 (n,)
    n = out.size
    if code == ADD:
        for i in range(n):
            out[i] = a[i] + b[i]
    elif code == SUB:
        for i in range(n):
            out[i] = a[i] - b[i]
    elif code == MUL:
        for i in range(n):
            out[i] = a[i] * b[i]
    else:
        for i in range(n):
            out[i] = a[i] / b[i]


@kernel
def _row_and_scalar(code, a, v, out):
    # a, out: float32 (n,); v: float32
    n = out.size
    if code == ADD:
        for i in range(n):
            out[i] = a[i] + v
    elif code == SUB:
        for i in range(n):
            out[i] = a[i] - v
    elif code == MUL:
        for i in range(n):
            out[i] = a[i] * v
    else:
        for i in range(n):
            out[i] = a[i] / v


@kernel
def _scalar_and_row(code, u, b, out):
    # u: float32; b, out: float32 (n,); sums and products are left to _row_and_scalar
    n = out.size
    if code == SUB:
        for i in range(n):
            out[i] = u - b[i]
    else:
        for i in range(n):
            out[i] = u / b[i]


@kernel
def _binary_task(op, index, scratch):
    # op words from ARGS on: addresses of a, b, out; outer, rows, columns; strides of a (3), of b (3); code; rows a
    # task; columns a task
    args = words(op, program.WORDS)[program.ARGS :]
    outer, rows, columns = args[3], args[4], args[5]
    code, rows_task, columns_task = args[12], args[13], args[14]
    column_tasks = (columns + columns_task - 1) // columns_task
    c = index % column_tasks * columns_task
    n = min(columns_task, columns - c)
    row = index // column_tasks * rows_task
    last = min(row + rows_task, outer * rows)
    o = row // rows
    r = row - o * rows
    while row < last:
        a = args[0] + 4 * (o * args[6] + r * args[7] + c * args[8])
        b = args[1] + 4 * (o * args[9] + r * args[10] + c * args[11])
        out = f32_view(args[2] + 4 * (row * columns + c), n)
        if args[11] == 0:
            _row_and_scalar(code, f32_view(a, n), f32_view(b, 1)[0], out)
        elif args[8] != 0:
            _rows(code, f32_view(a, n), f32_view(b, n), out)
        elif code in (ADD, MUL):
            _row_and_scalar(code, f32_view(b, n), f32_view(a, 1)[0], out)
        else:
            _scalar_and_row(code, f32_view(a, 1)[0], f32_view(b, n), out)
        row += 1
        r += 1
        if r == rows:
            r = 0
            o += 1


def binary_f32(
    code: int,
    a: np.ndarray,
    a_strides: tuple[int, int, int],
    b: np.ndarray,
    b_strides: tuple[int, int, int],
    out: np.ndarray,
) -> np.ndarray:
    """``a + b``, ``a - b``, ``a * b`` or ``a / b`` with broadcasting along any of three axes.

    Parameters
    ----------
    code : int
        :data:`ADD`, :data:`SUB`, :data:`MUL`, :data:`DIV`.
    a, b : float32, C-contiguous
    a_strides, b_strides : tuple of int
        Elements from one index of an axis of ``out`` to the next; 0 where the operand is repeated. The last is 1 or 0,
        and not 0 for both operands unless the last dim of ``out`` is 1.
    out : float32 (outer, rows, columns)
        C-contiguous; written and returned.
    """
    outer, rows, columns = out.shape
    columns_task = min(columns, BLOCK)
    rows_task = max(1, BLOCK // columns)
    tasks = -(-columns // columns_task) * -(-(outer * rows) // rows_task)
    address = program.data_address
    args = [address(a), address(b), address(out), outer, rows, columns, *a_strides, *b_strides, code, rows_task,
            columns_task]  # fmt: skip
    program.run(program.new_op(_binary_task, tasks, 0, args))
    return out


@kernel
def channel_f32_naive(code, x, k, b, out):
    # x, out: float32 (outer, C, inner); k, b: float32 (C,)
    for o in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                v = x[o, c, i]
                if code == AFFINE:
                    out[o, c, i] = v * k[c] + b[c]
                else:
                    out[o, c, i] = v * k[c] if v < _ZERO else v


@kernel
def _channel_row(code, x, k, b, out):
    # x, k, b, out: float32 (n,): one factor an element
    n = out.size
    if code == AFFINE:
        for i in range(n):
            out[i] = x[i] * k[i] + b[i]
    else:
        for i in range(n):
            v = x[i]
            out[i] = v * k[i] if v < _ZERO else v


@kernel
def _channel_constant(code, x, k, b, out):
    # x, out: float32 (n,); k, b: float32
    n = out.size
    if code == AFFINE:
        for i in range(n):
            out[i] = x[i] * k + b
    else:
        for i in range(n):
            v = x[i]
            out[i] = v * k if v < _ZERO else v


@kernel
def _channel_task(op, index, scratch):
    # op words from ARGS on: addresses of x, k, b, out; elements; columns of a row; C, or 0 where a row holds all
    # channels (then k and b have as many elements as a row), else it is one channel's plane; code; rows a task;
    # columns a task
    args = words(op, program.WORDS)[program.ARGS :]
    count, columns, channels, code = args[4], args[5], args[6], args[7]
    column_tasks = (columns + args[9] - 1) // args[9]
    c = index % column_tasks * args[9]
    first = index // column_tasks * args[8]
    for row in range(first, first + args[8]):
        # The last row may be short.
        n = min(args[9], columns - c, count - row * columns - c)
        if n <= 0:
            break
        at = 4 * (row * columns + c)
        x, out = f32_view(args[0] + at, n), f32_view(args[3] + at, n)
        if channels == 0:
            _channel_row(code, x, f32_view(args[1] + 4 * c, n), f32_view(args[2] + 4 * c, n), out)
        else:
            channel = 4 * (row % channels)
            _channel_constant(code, x, f32_view(args[1] + channel, 1)[0], f32_view(args[2] + channel, 1)[0], out)


def channel_f32(code: int, x: np.ndarray, k: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    """A function with parameters of each channel.

    Parameters
    ----------
    code : int
        :data:`AFFINE` x * k + b; :data:`PRELU` x, and x * k where x < 0.
    x : float32 (outer, C, inner)
        C-contiguous; inner is 1 for channels-last memory.
    k, b : float32 (C,)
        C-contiguous; :data:`PRELU` does not read b.
    out : float32 (outer, C, inner)
        C-contiguous; written and returned.
    """
    _, channels, inner = x.shape
    columns = inner
    if inner == 1:
        # A row of few channels is over before its loop has gained speed: several positions make one row.
        repeats = -(-_ROW // channels)
        if repeats > 1:
            k, b = np.tile(k, repeats), np.tile(b, repeats)
        columns, channels = channels * repeats, 0
    columns_task = min(columns, BLOCK)
    rows_task = max(1, BLOCK // columns)
    rows = -(-x.size // columns)
    tasks = -(-columns // columns_task) * -(-rows // rows_task)
    address = program.data_address
    args = [address(x), address(k), address(b), address(out), x.size, columns, channels, code, rows_task, columns_task]
    program.run(program.new_op(_channel_task, tasks, 0, args))
    return out
