"""int8 activations in the form that the dot product of the instruction path takes.

GROUP = 2 (``vpmaddwd``): int16, minus the zero point. GROUP = 4: bytes plus SHIFT (``vpdpbusd`` wants them unsigned).
A vector costs one load and one store; each element is converted once per task, then used by all output channels.
For depthwise convolutions GROUP rows are interleaved at the same time.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels.dot_i8 import GROUP, SHIFT
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import I8, I16, I32, I64, Emitter, sweep
from tnnquant.kernels.target import features

__all__ = ["convert_pixels", "copy_if_positive", "interleave_pixels"]

_WIDTH = 16  # elements converted at a time
# Whether one instruction can put 64 bytes in any order.
_PERMUTES = GROUP == 4 and "avx512vbmi" in features()


def _convert(emit, value, zero=None):
    """A vector of int8 to what the scratch memory holds; ``zero``: its zero points, None if they are 0."""
    builder = emit.builder
    if GROUP == 2:
        wide = ir.VectorType(I16, emit.lanes)
        value = builder.sext(value, wide)
        return value if zero is None else builder.sub(value, builder.sext(zero, wide))
    return builder.xor(value, emit.constant(-128, I8)) if SHIFT else value


def _emit_both(builder, subtract, emit_loop):
    """Emits ``emit_loop(has_zero)``, for data with zero points and, the common case, without, where that differs."""
    if GROUP != 2:
        emit_loop(False)
        return
    with builder.if_else(builder.icmp_signed("!=", subtract, subtract.type(0)), likely=False) as (some, none):
        with some:
            emit_loop(True)
        with none:
            emit_loop(False)


@intrinsic
def _convert_pixels(typingctx, to, to_step, source, source_step, pixels, channels, zero, subtract):
    """Converts ``channels`` int8 of each of ``pixels`` pixels; all int64, addresses and byte steps.

    zero is the address of int8 (channels,), which is read only if ``subtract`` is not 0. Whole vectors, the last one
    overlapping the one before it; fewer channels than a vector one by one.
    """

    def codegen(context, builder, sig, args):
        to, to_step, source, source_step, pixels, channels, zero, subtract = args
        zero = builder.inttoptr(zero, I8.as_pointer())

        def emit_loop(has_zero):
            with Emitter(builder, 1).loop(pixels) as i:
                read = builder.inttoptr(builder.add(source, builder.mul(i, source_step)), I8.as_pointer())
                write = builder.inttoptr(builder.add(to, builder.mul(i, to_step)), I8.as_pointer())

                def body(emit, at):
                    points = emit.load(emit.at(zero, at)) if has_zero else None
                    converted = _convert(emit, emit.load(emit.at(read, at)), points)
                    emit.store(converted, emit.at(write, builder.mul(at, I64(4 // GROUP))))

                sweep(builder, channels, (_WIDTH,), I8, body)

        _emit_both(builder, subtract, emit_loop)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), codegen


@intrinsic
def _copy_if_positive(typingctx, to, to_step, source, source_step, pixels, count):
    """Copies ``count`` int8 of each of ``pixels`` pixels; a negative result says that one of them is.

    All int64, addresses and byte steps; the result is int64.
    """

    def codegen(context, builder, sig, args):
        to, to_step, source, source_step, pixels, count = args
        seen = [Emitter(builder, lanes, I8) for lanes in (_WIDTH * 2, _WIDTH, 1)]
        seen = {emit.lanes: emit.variable(emit.constant(0)) for emit in seen}
        with Emitter(builder, 1).loop(pixels) as i:
            read = builder.inttoptr(builder.add(source, builder.mul(i, source_step)), I8.as_pointer())
            write = builder.inttoptr(builder.add(to, builder.mul(i, to_step)), I8.as_pointer())

            def body(emit, at):
                value = emit.load(emit.at(read, at))
                emit.store(value, emit.at(write, at))
                builder.store(builder.or_(builder.load(seen[emit.lanes]), value), seen[emit.lanes])

            sweep(builder, count, (_WIDTH * 2, _WIDTH), I8, body)
        total = I8(0)
        for lanes, slot in seen.items():
            emit = Emitter(builder, lanes, I8)
            value = builder.load(slot)
            reduced = emit.call(f"llvm.vector.reduce.or.v{lanes}i8", I8, value)
            total = builder.or_(total, reduced)
        return builder.sext(total, I64)

    return types.int64(*[types.int64] * 6), codegen


def _joined(builder, pair):
    count = pair[0].type.count
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(I32, 2 * count), list(range(2 * count))))


def _interleave(emit, rows):
    """GROUP vectors of int8 as vectors that hold, channel by channel, one element of each: GROUP, or one of all."""
    builder = emit.builder
    if _PERMUTES:
        whole = [_joined(builder, pair) for pair in (rows[:2], rows[2:])]
        order = [row * emit.lanes + lane for lane in range(emit.lanes) for row in range(4)]
        return [builder.shuffle_vector(*whole, ir.Constant(ir.VectorType(I32, len(order)), order))]
    half = emit.lanes // 2

    def zipped(a, b, first):
        mask = [index for lane in range(first, first + half) for index in (lane, emit.lanes + lane)]
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, emit.lanes), mask))

    if len(rows) == 2:
        return [zipped(*rows, 0), zipped(*rows, half)]
    # Of four rows: rows 0 and 2, 1 and 3, then the results with each other.
    even, odd = [[zipped(rows[i], rows[i + 2], first) for first in (0, half)] for i in (0, 1)]
    return [zipped(even[i], odd[i], first) for i in (0, 1) for first in (0, half)]


@intrinsic
def _interleave_pixels(typingctx, to, to_step, sources, pixels, channels, zero, subtract):
    """Interleaves the rows of a depthwise kernel: 4 bytes per channel, converted as by :func:`_convert_pixels`.

    sources is the address of int64 (GROUP, 2): where each image row begins and how far apart its pixels are, bytes (0
    repeats one pixel); zero the address of int8 (channels,), read only if ``subtract`` is not 0. ``to_step`` bytes
    lie between pixels of the result.
    """

    def codegen(context, builder, sig, args):
        to, to_step, sources, pixels, channels, zero, subtract = args
        zero = builder.inttoptr(zero, I8.as_pointer())
        table = builder.inttoptr(sources, I64.as_pointer())
        rows = [[builder.load(builder.gep(table, [I64(2 * g + i)])) for i in (0, 1)] for g in range(GROUP)]

        def emit_loop(has_zero):
            def interleaved(emit, vectors):
                return _interleave(emit, vectors) if emit.lanes > 1 else vectors

            with Emitter(builder, 1).loop(pixels) as i:
                reads = [
                    builder.inttoptr(builder.add(start, builder.mul(i, step)), I8.as_pointer()) for start, step in rows
                ]
                write = builder.inttoptr(builder.add(to, builder.mul(i, to_step)), I8.as_pointer())

                def body(emit, at):
                    target = emit.at(write, builder.mul(at, I64(4)))
                    values = interleaved(emit, [emit.load(emit.at(read, at)) for read in reads])
                    zeros = [None] * len(values)
                    if has_zero:
                        zeros = interleaved(emit, [emit.load(emit.at(zero, at))] * GROUP)
                    for index, (value, points) in enumerate(zip(values, zeros, strict=True)):
                        part = Emitter(builder, value.type.count if emit.lanes > 1 else 1, I8)
                        emit.store(_convert(part, value, points), emit.at(target, index * part.lanes * 4 // GROUP))

                sweep(builder, channels, (_WIDTH,), I8, body)

        _emit_both(builder, subtract, emit_loop)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen


# Called from several places each: as functions they are compiled once, not once per place.


@kernel
def convert_pixels(to, to_step, source, source_step, pixels, channels, zero, subtract):
    """Converts int8 pixels to the form of the dot product; see :func:`_convert_pixels`."""
    _convert_pixels(to, to_step, source, source_step, pixels, channels, zero, subtract)


@kernel
def copy_if_positive(to, to_step, source, source_step, pixels, count):
    """Copies int8 pixels; negative if one of the values is; see :func:`_copy_if_positive`."""
    return _copy_if_positive(to, to_step, source, source_step, pixels, count)


@kernel
def interleave_pixels(to, to_step, sources, pixels, channels, zero, subtract):
    """Interleaves the rows of a depthwise kernel; see :func:`_interleave_pixels`."""
    _interleave_pixels(to, to_step, sources, pixels, channels, zero, subtract)
