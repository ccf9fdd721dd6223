"""fp32 functions with parameters per channel: the affine function of batch normalization, PReLU.

Versions, slowest first: :func:`channel_f32_naive`; :func:`channel_f32_op`, vectorized by LLVM along the channels or
along the pixels, whichever are contiguous, on all threads. The same bits from both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.loops import first_row, loop_nest, loop_op
from tnnquant.kernels.simd import f32_view, load_words

__all__ = ["AFFINE", "PRELU", "ChannelTable", "channel_f32_naive", "channel_f32_op", "channel_table"]

#: Functions of :func:`channel_f32_op`.
AFFINE, PRELU = range(2)
# Shorter rows end before a vector loop has gained anything.
_ROW = 512

_ZERO = np.float32(0)
_address = program.data_address


class ChannelTable(NamedTuple):
    """k, b : float32 (repeats * C,): the values of all channels, several times over, so that they fill long rows."""

    k: np.ndarray
    b: np.ndarray
    channels: int


def channel_table(k: np.ndarray, b: np.ndarray) -> ChannelTable:
    """The table of k and b, float32 (C,) each."""
    repeats = max(1, -(-_ROW // k.size))
    return ChannelTable(np.tile(k, repeats), np.tile(b, repeats), k.size)


@kernel
def channel_f32_naive(code, x, k, b, out):
    # code: int; x, out: float32 (outer, C, inner); k, b: float32 (C,)
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
    # x, k, b, out: float32 (n,): one factor per element
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
    # op words: see loop_op; arrays out, x, k; parameters code, address of b, whose strides are those of k
    args = load_words(op + 8 * program.ARGS, 19)
    o, r, count, c, n = first_row(args[:5], index)
    code = args[17]
    for _ in range(count):
        out = f32_view(args[5] + o * args[6] + r * args[7] + 4 * c, n)
        x = f32_view(args[9] + o * args[10] + r * args[11] + 4 * c, n)
        at = o * args[14] + r * args[15] + c * args[16]
        if args[16] == 0:
            _channel_constant(code, x, f32_view(args[13] + at, 1)[0], f32_view(args[18] + at, 1)[0], out)
        else:
            _channel_row(code, x, f32_view(args[13] + at, n), f32_view(args[18] + at, n), out)
        r += 1
        if r == args[1]:
            o, r = o + 1, np.int64(0)


def channel_f32_op(code: int, x: np.ndarray, table: ChannelTable, out: np.ndarray) -> np.ndarray | None:
    """The op of a function with parameters per channel.

    Parameters
    ----------
    code : int
        :data:`AFFINE` x * k + b; :data:`PRELU` x, and x * k where x < 0, which does not read b.
    x : float32 (N, C, ...), not empty
        Of one dim only if the table has one channel.
    table : ChannelTable
        Of C channels, or of one that serves all.
    out : float32, of the same shape

    Returns
    -------
    int64 (1 or 2, WORDS), or None
        None: the strides of the arrays do not allow it. The arrays must stay alive.
    """
    first = table.k[: table.channels].reshape((-1, *(1,) * max(0, x.ndim - 2)) if x.ndim else ())
    k = np.broadcast_to(first, x.shape)
    nest = loop_nest(out, x, k)
    if nest is None:
        return None
    (outer, rows, columns), strides = nest
    to, source, values, summands = _address(out), _address(x), _address(table.k), _address(table.b)
    repeats = table.k.size // columns
    dense = (0, 4 * columns, 4)
    if outer != 1 or rows == 1 or repeats < 2 or strides != (dense, dense, (0, 0, 4)):
        return loop_op(_channel_task, [to, source, values], nest, code, summands)
    # Several short rows become one; the rest is one more row.
    ops = []
    whole, rest = divmod(rows, repeats)
    for start, lines, width in ((0, whole, repeats * columns), (whole, 1, rest * columns)):
        if lines * width:
            dense = (0, 4 * width, 4)
            skip = 4 * start * repeats * columns
            wide = (1, lines, width), (dense, dense, (0, 0, 4))
            ops.append(loop_op(_channel_task, [to + skip, source + skip, values], wide, code, summands))
    return np.concatenate(ops)
