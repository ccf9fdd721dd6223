"""int8 to int8 by table: what any function of one value between two int8 blobs comes to.

A table has one row of 256 results per channel, or one row for all: the result for x stands at the place ``x mod 256``.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.geometry import pixel_stride
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import I8, I64, Emitter, load_words
from tnnquant.kernels.target import features

__all__ = ["lookup_i8", "lookup_i8_naive", "lookup_i8_op"]

# Elements of a task, about.
_BLOCK = 32768
# Whether one instruction can take 64 values out of a table of 128.
_PERMUTES = "avx512vbmi" in features()


@kernel
def lookup_i8_naive(x, table, out):
    # x, out: int8 (P, C); table: int8 (C, 256)
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[p, c] = table[c, np.int64(x[p, c]) & 255]


def _emit_vector(emit, read, tables, write):
    """A vector of 64 bytes by one table that lies in four vectors."""
    builder = emit.builder
    index = emit.load(read)
    name = "llvm.x86.avx512.vpermi2var.qi.512"
    low, high = (emit.call(name, emit.vector, tables[i], index, tables[i + 1]) for i in (0, 2))
    emit.store(builder.select(builder.icmp_signed("<", index, emit.constant(0)), high, low), write)


def _emit_eight(emit, read, table, step, write):
    """Eight bytes as one word: a load and a store for all, and a load of the table for each."""
    builder = emit.builder
    word = emit.load_scalar(read, I64)
    result = I64(0)
    for i in range(8):
        place = builder.and_(builder.lshr(word, I64(8 * i)), I64(255))
        at = emit.at(table, builder.add(place, builder.mul(step, I64(i))))
        value = builder.zext(builder.load(at, align=1), I64)
        result = builder.or_(result, builder.shl(value, I64(8 * i)))
    emit.store(result, write)


@intrinsic
def _lookup_row(typingctx, x, table, step, out, count):
    """``count`` bytes from address to address; ``step``: from row to row of the table, all int64."""
    if (x, table, step, out, count) != (types.int64,) * 5:
        return None

    def codegen(context, builder, sig, args):
        x, table, step, out, count = args
        emit = Emitter(builder, 1, I8)
        read, results, write = (emit.pointer(address) for address in (x, table, out))
        done = emit.variable(I64(0))

        def steps_of(size, body):
            first = builder.load(done)
            runs = builder.sdiv(builder.sub(count, first), I64(size))
            with emit.loop(runs) as i:
                body(builder.add(first, builder.mul(i, I64(size))))
            builder.store(builder.add(first, builder.mul(runs, I64(size))), done)

        def row(at):
            return emit.at(results, builder.mul(at, step))

        if _PERMUTES:
            with builder.if_then(builder.icmp_signed("==", step, I64(0))):
                wide = Emitter(builder, 64, I8)
                tables = [wide.load(emit.at(results, 64 * i)) for i in range(4)]
                steps_of(64, lambda at: _emit_vector(wide, emit.at(read, at), tables, emit.at(write, at)))
        steps_of(8, lambda at: _emit_eight(emit, emit.at(read, at), row(at), step, emit.at(write, at)))

        def one(at):
            place = builder.zext(builder.load(emit.at(read, at)), I64)
            builder.store(builder.load(emit.at(row(at), place)), emit.at(write, at))

        steps_of(1, one)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@kernel
def _lookup_task(op, index, scratch):
    # op words from ARGS on: see lookup_i8_op
    (rows, length, last_length, block, x, x_step, out, out_step, table, step) = load_words(op + 8 * program.ARGS, 10)
    for row in range(index * block, min(index * block + block, rows)):
        n = length if row < rows - 1 else last_length
        _lookup_row(x + row * x_step, table, step, out + row * out_step, n)


def lookup_i8_op(x: np.ndarray, table: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The op of :func:`lookup_i8`. The arrays must stay alive."""
    channels = x.shape[3]
    rows, length, last = x.size // max(channels, 1), channels, channels
    steps = pixel_stride(x), pixel_stride(out)
    if len(table) == 1 and steps == (channels, channels):
        # No channels to tell apart: long runs of elements.
        length = min(_BLOCK, max(x.size, 1))
        rows = -(-x.size // length)
        last, steps = x.size - (rows - 1) * length, (length, length)
    block = max(1, _BLOCK // max(length, 1))
    args = [
        rows, length, last, block, program.data_address(x), steps[0], program.data_address(out), steps[1],
        program.data_address(table), 256 if len(table) > 1 else 0,
    ]  # fmt: skip
    return program.new_op(_lookup_task, -(-rows // block), 0, args)


def lookup_i8(x: np.ndarray, table: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Replace every value by that of a table.

    Parameters
    ----------
    x : int8 (N, H, W, C)
        C-contiguous, or a slice of channels of such an array.
    table : int8 (C, 256) or (1, 256)
        Row c holds the results of channel c, that for x at ``x mod 256``; one row serves all channels. C-contiguous.
    out : int8 (N, H, W, C)
        Written and returned; C-contiguous or a slice of channels. May be x.
    """
    program.run(lookup_i8_op(x, table, out))
    return out
