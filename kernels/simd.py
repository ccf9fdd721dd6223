"""Vectors from Numba: memory by address, and a small emitter of LLVM IR that the microkernels are written with.

Numba has no vector type, so a microkernel is one ``@intrinsic`` whose body is LLVM IR: its accumulators are vectors
that stay in registers over the whole reduction. :class:`Emitter` keeps such bodies short. Vector widths come from
:mod:`~tnnquant.kernels.target`; vectors wider than the machine's would be split by LLVM, never rejected, so plain
arithmetic here is safe on every target. Only the dot products need a feature, and are gated where they are emitted.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from tnnquant.kernels.jit import inline
from tnnquant.kernels.target import features

__all__ = [
    "F32",
    "I8",
    "I16",
    "I32",
    "I64",
    "Emitter",
    "copy_bytes",
    "copy_pixels",
    "f32_view",
    "f64_view",
    "fill_zero",
    "i8_view",
    "i32_view",
    "largest_f32",
    "load_word",
    "load_words",
    "prefer_wide_vectors",
    "row_pointers",
    "store_word",
    "sweep",
    "words",
]

F32 = ir.FloatType()
I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


@intrinsic
def _pointer(typingctx, address, like):
    """The integer ``address`` as a pointer to elements of the NumPy dtype ``like``."""
    if not isinstance(address, types.Integer) or not isinstance(like, types.DTypeSpec | types.NumberClass):
        return None
    pointer_type = types.CPointer(like.dtype)

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer_type))

    return pointer_type(address, like), codegen


@inline
def words(address, count):
    """int64 (count,): a view of the memory at ``address``."""
    return carray(_pointer(address, np.int64), (count,))


@inline
def f32_view(address, count):
    """float32 (count,): a view of the memory at ``address``."""
    return carray(_pointer(address, np.float32), (count,))


@inline
def f64_view(address, count):
    """float64 (count,): a view of the memory at ``address``."""
    return carray(_pointer(address, np.float64), (count,))


@inline
def i8_view(address, count):
    """int8 (count,): a view of the memory at ``address``."""
    return carray(_pointer(address, np.int8), (count,))


@inline
def i32_view(address, count):
    """int32 (count,): a view of the memory at ``address``."""
    return carray(_pointer(address, np.int32), (count,))


@intrinsic
def load_words(typingctx, address, count):
    """The int64 at ``address`` and those after it, as a tuple of ``count`` (a literal).

    Numba compiles this in a hundredth of the time that as many indexings of an array take.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, builder, sig, args):
        pointer = builder.inttoptr(args[0], I64.as_pointer())
        values = [builder.load(builder.gep(pointer, [I64(i)])) for i in range(count.literal_value)]
        return cgutils.pack_array(builder, values)

    return result(types.int64, count), codegen


@intrinsic
def load_word(typingctx, address):
    """The int64 at an address."""

    def codegen(context, builder, sig, args):
        return builder.load(builder.inttoptr(args[0], I64.as_pointer()))

    return types.int64(types.int64), codegen


@intrinsic
def store_word(typingctx, address, value):
    """Writes an int64 to an address."""

    def codegen(context, builder, sig, args):
        builder.store(args[1], builder.inttoptr(args[0], I64.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def copy_bytes(typingctx, to, source, count):
    """memcpy: ``count`` bytes between addresses; the ranges do not overlap."""
    if (to, source, count) != (types.int64,) * 3:
        return None

    def codegen(context, builder, sig, args):
        pointers = [builder.inttoptr(value, I8.as_pointer()) for value in args[:2]]
        cgutils.raw_memcpy(builder, pointers[0], pointers[1], args[2], 1)
        return context.get_dummy_value()

    return types.void(to, source, count), codegen


@intrinsic
def copy_pixels(typingctx, to, to_step, source, source_step, pixels, count):
    """Copies ``count`` bytes (a multiple of 4) of each of ``pixels`` pixels; all int64, addresses and byte steps.

    Vectors of 64 bytes: calling memcpy for every pixel costs more than the copy.
    """
    if (to, to_step, source, source_step, pixels, count) != (types.int64,) * 6:
        return None

    def codegen(context, builder, sig, args):
        to, to_step, source, source_step, pixels, count = args
        with Emitter(builder, 1).loop(pixels) as i:
            read = builder.add(source, builder.mul(i, source_step))
            write = builder.add(to, builder.mul(i, to_step))

            def body(emit, at):
                value = emit.load(emit.at(emit.pointer(read, F32), at))
                emit.store(value, emit.at(emit.pointer(write, F32), at))

            sweep(builder, builder.sdiv(count, I64(4)), (16,), F32, body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


def sweep(builder, count, widths, element, body):
    """Emits ``body(emit, at)`` for elements ``0..count-1`` (an int64 value) in vectors of the widest of ``widths``
    that fits.

    The last vector overlaps the one before it, so a body must not read what it writes; fewer elements than the
    narrowest vector are taken one by one. ``at`` is the first element of a step, int64.
    """
    if not widths:
        single = Emitter(builder, 1, element)
        with single.loop(count) as at:
            body(single, at)
        return
    lanes = widths[0]
    wide = Emitter(builder, lanes, element)
    with builder.if_else(builder.icmp_signed(">=", count, I64(lanes))) as (vectors, narrower):
        with vectors:
            with wide.loop(builder.sdiv(builder.sub(count, I64(1)), I64(lanes))) as v:
                body(wide, builder.mul(v, I64(lanes)))
            body(wide, builder.sub(count, I64(lanes)))
        with narrower:
            sweep(builder, count, widths[1:], element, body)


def row_pointers(emit, row_table, rows, offset, element):
    """The pointers that a table of int64 addresses holds, each moved by ``offset`` bytes.

    They are more than there are registers; the loads are atomic so that LLVM leaves them where they are, in place of
    loading them ahead of the loop over taps only to put them on the stack.
    """
    builder = emit.builder
    starts = [builder.load_atomic(emit.at(row_table, r), "monotonic", 8) for r in range(rows)]
    return [emit.pointer(builder.add(start, offset), element) for start in starts]


@intrinsic
def prefer_wide_vectors(typingctx):
    """Has LLVM vectorize the loops of the calling function in 512 bits where the target has them; it prefers 256.

    For loops of many operations per element. Vectors of any width give the same bits. What is inlined into the function
    goes along with it; what the function is inlined into decides for it.
    """

    def codegen(context, builder, sig, args):
        # llvmlite lets no attributes pass that it does not know.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def largest_f32(typingctx, address, count):
    """The largest of ``count`` float32 from an address on, at least one; as TNN's loop: ``a > largest ? a : largest``.

    So NaN is the result where the first value is NaN, and passed over elsewhere.
    """
    if (address, count) != (types.int64,) * 2:
        return None

    def codegen(context, builder, sig, args):
        single = Emitter(builder, 1)
        x = single.pointer(args[0], F32)
        first = builder.load(x)
        largest = single.variable(first)
        lanes = Emitter(builder, 16)
        several = lanes.variable(lanes.splat(first))

        def body(emit, at):
            if emit.lanes == 1:
                value = builder.load(emit.at(x, at))
                builder.store(emit.larger(value, builder.load(largest)), largest)
            else:
                builder.store(emit.larger(emit.load(emit.at(x, at)), builder.load(several)), several)

        sweep(builder, args[1], (16,), F32, body)
        values = builder.load(several)
        for lane in range(16):
            value = builder.extract_element(values, I32(lane))
            builder.store(single.larger(value, builder.load(largest)), largest)
        return builder.load(largest)

    return types.float32(types.int64, types.int64), codegen


@intrinsic
def fill_zero(typingctx, to, count):
    """memset: ``count`` zero bytes from an address on."""
    if (to, count) != (types.int64,) * 2:
        return None

    def codegen(context, builder, sig, args):
        cgutils.memset(builder, builder.inttoptr(args[0], I8.as_pointer()), args[1], 0)
        return context.get_dummy_value()

    return types.void(to, count), codegen


class Emitter:
    """Shorthand for LLVM IR over one element type and vector width.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Positioned in the body of an intrinsic.
    lanes : int
        Elements of a vector.
    element : llvmlite.ir.Type
        Type of one lane of an accumulator, float32 or int32.
    """

    def __init__(self, builder: ir.IRBuilder, lanes: int, element: ir.Type = F32):
        self.builder = builder
        self.lanes = lanes
        self.element = element
        self.vector = ir.VectorType(element, lanes)

    # -- memory ------------------------------------------------------------------------------------------------------

    def pointer(self, address, element=I8):
        """An int64 address as a pointer."""
        return self.builder.inttoptr(address, element.as_pointer())

    def at(self, pointer, offset):
        """``pointer`` moved by ``offset`` elements (an int or an int64 value)."""
        offset = I64(offset) if isinstance(offset, int) else offset
        return self.builder.gep(pointer, [offset])

    def load(self, pointer, vector=None):
        """A vector from anywhere (no alignment is assumed)."""
        vector = vector or self.vector
        return self.builder.load(self.builder.bitcast(pointer, vector.as_pointer()), align=1)

    def store(self, value, pointer):
        """A vector to anywhere."""
        self.builder.store(value, self.builder.bitcast(pointer, value.type.as_pointer()), align=1)

    def load_scalar(self, pointer, element):
        """One element from anywhere."""
        return self.builder.load(self.builder.bitcast(pointer, element.as_pointer()), align=1)

    # -- values ------------------------------------------------------------------------------------------------------

    def splat(self, scalar):
        """A vector with the same scalar in every lane."""
        vector = ir.VectorType(scalar.type, self.lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        one = self.builder.insert_element(undefined, scalar, I32(0))
        return self.builder.shuffle_vector(
            one, undefined, ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        )

    def constant(self, value, element=None):
        """A vector constant."""
        element = element or self.element
        return ir.Constant(ir.VectorType(element, self.lanes), [element(value)] * self.lanes)

    def variable(self, initial):
        """A mutable slot that LLVM promotes to a register."""
        slot = cgutils.alloca_once(self.builder, initial.type)
        self.builder.store(initial, slot)
        return slot

    def call(self, name, result, *args):
        """An LLVM intrinsic by name."""
        function_type = ir.FunctionType(result, [arg.type for arg in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, function_type, name), args)

    def multiply_add(self, a, b, accumulator):
        """``a * b + accumulator`` per lane: fused where the target can, else two roundings."""
        if "fma" in features() or "neon" in features():
            return self.call(f"llvm.fma.v{self.lanes}f32", self.vector, a, b, accumulator)
        return self.builder.fadd(self.builder.fmul(a, b), accumulator)

    def larger(self, a, b):
        """``a > b ? a : b`` per lane of float32: b where either is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def smaller(self, a, b):
        """``a < b ? a : b`` per lane of float32: b where either is NaN."""
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    # -- control -----------------------------------------------------------------------------------------------------

    @contextmanager
    def loop(self, count):
        """``for i in range(count)``; yields ``i`` (int64)."""
        with cgutils.for_range(self.builder, count, intp=I64) as index:
            yield index.index

    def store_tile(self, values, pointers, count):
        """Rows of vectors, each row to its pointer: the first ``count`` (int64 value) elements of every row."""
        builder = self.builder
        sizes = [value.type.count for value in values[0]]
        lanes, element = sum(sizes), values[0][0].type.element
        with builder.if_else(builder.icmp_signed(">=", count, I64(lanes))) as (whole, part):
            with whole:
                for row, pointer in zip(values, pointers, strict=True):
                    for v, value in enumerate(row):
                        self.store(value, self.at(pointer, sum(sizes[:v])))
            with part:
                # Through memory: one loop of code for all rows.
                buffer = cgutils.alloca_once(builder, ir.ArrayType(element, lanes * len(values)))
                targets = cgutils.alloca_once(builder, ir.ArrayType(I64, len(values)))
                flat, table = (
                    builder.bitcast(buffer, element.as_pointer()),
                    builder.bitcast(targets, I64.as_pointer()),
                )
                for r, (row, pointer) in enumerate(zip(values, pointers, strict=True)):
                    builder.store(builder.ptrtoint(pointer, I64), self.at(table, r))
                    for v, value in enumerate(row):
                        self.store(value, self.at(flat, r * lanes + sum(sizes[:v])))
                with self.loop(I64(len(values))) as r:
                    read = self.at(flat, builder.mul(r, I64(lanes)))
                    write = self.pointer(builder.load(self.at(table, r)), element)
                    sweep(
                        builder,
                        count,
                        (4,),
                        element,
                        lambda part, at: part.store(part.load(part.at(read, at)), part.at(write, at)),
                    )
