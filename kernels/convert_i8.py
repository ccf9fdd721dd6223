"""int8 activations in the form that the dot product of the instruction path takes.

GROUP = 2 (``vpmaddwd``): int16, minus the zero point. GROUP = 4: bytes plus SHIFT (``vpdpbusd`` wants them unsigned).
A vector costs one load and one store; each element is converted once a task, then used by all output channels.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from tnnquant.kernels.simd import I8, I16, I64, Emitter
from tnnquant.kernels.tile_i8 import GROUP, SHIFT

__all__ = ["convert_pixels"]

_WIDTH = 16  # elements converted at a time


def _convert(emit, value, zero):
    """A vector of int8 and its zero points to what the scratch memory holds."""
    builder = emit.builder
    if GROUP == 2:
        wide = ir.VectorType(I16, emit.lanes)
        return builder.sub(builder.sext(value, wide), builder.sext(zero, wide))
    return builder.xor(value, emit.constant(-128, I8)) if SHIFT else value


@intrinsic
def convert_pixels(typingctx, to, to_step, source, source_step, pixels, channels, zero):
    """Converts ``channels`` int8 of each of ``pixels`` pixels; all int64, addresses and byte steps.

    zero is the address of int8 (channels,). Whole vectors, the last one overlapping the one before it; fewer channels
    than a vector one by one.
    """

    def codegen(context, builder, sig, args):
        to, to_step, source, source_step, pixels, channels, zero = args
        zero = builder.inttoptr(zero, I8.as_pointer())

        def step(emit, read, write, at):
            value = emit.load(emit.at(read, at))
            converted = _convert(emit, value, emit.load(emit.at(zero, at)))
            size = converted.type.element.width // 8
            emit.store(converted, emit.at(write, builder.mul(at, I64(size))))

        wide, single = Emitter(builder, _WIDTH, I8), Emitter(builder, 1, I8)
        whole = builder.sdiv(builder.sub(channels, I64(1)), I64(_WIDTH))
        last = builder.sub(channels, I64(_WIDTH))
        is_wide = builder.icmp_signed(">=", channels, I64(_WIDTH))
        with wide.loop(pixels) as i:
            read = wide.pointer(builder.add(source, builder.mul(i, source_step)))
            write = wide.pointer(builder.add(to, builder.mul(i, to_step)))
            with builder.if_else(is_wide) as (vectors, elements):
                with vectors:
                    with wide.loop(whole) as v:
                        step(wide, read, write, builder.mul(v, I64(_WIDTH)))
                    step(wide, read, write, last)
                with elements, wide.loop(channels) as c:
                    step(single, read, write, c)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen
