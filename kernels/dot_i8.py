"""The int8 dot product of the instruction path, and the sizes and layouts that follow from it.

Activations and weights are stored in groups of 4 bytes per channel lane: :data:`GROUP` is 4 (unsigned or signed bytes,
one ``vpdpbusd`` or ``sdot`` each) or 2 (int16, ``vpmaddwd``), see :mod:`~tnnquant.kernels.target`. Nothing saturates
on any path: ``vpdpbusd`` sums four products of at most 255 * 128 in an int32, ``vpmaddwd`` two of at most 255 * 255.
"""

from __future__ import annotations

from llvmlite import ir

from tnnquant.kernels.simd import I8, I16, I32
from tnnquant.kernels.target import isa

__all__ = ["BYTE_DOT", "DEPTH", "GROUP", "PANEL", "ROWS", "SHIFT", "emit_dot", "emit_matrix"]

_PATH = isa()
#: Output channels of a weight panel, output positions of the largest tile, products a dot sums, shift of activations.
PANEL, ROWS, GROUP, SHIFT = 2 * _PATH.lanes, _PATH.rows, _PATH.group, _PATH.shift
#: Products of a channel that lie side by side in the weights of a matrix product: GROUP, or 8 for ``smmla``.
DEPTH = 8 if _PATH.matrix else GROUP
#: The instruction for activations that are all in 0..127 with zero point 0, as after a ReLU: 32 products in 3
#: operations where ``vpmaddwd`` needs 4. None where the path has no use for it.
BYTE_DOT = {"vpmaddwd": "vpmaddubsw", "generic2": "generic4s"}.get(_PATH.dot)


def _generic_dot(emit, accumulator, a, b, group, is_signed):
    """Products of neighbouring lanes summed into int32 lanes, in plain arithmetic."""
    builder, lanes = emit.builder, emit.lanes
    wide = ir.VectorType(I32, lanes)
    for i in range(group):
        mask = ir.Constant(ir.VectorType(I32, lanes), [group * lane + i for lane in range(lanes)])
        left = builder.shuffle_vector(a, ir.Constant(a.type, ir.Undefined), mask)
        right = builder.shuffle_vector(b, ir.Constant(b.type, ir.Undefined), mask)
        left = builder.sext(left, wide) if is_signed else builder.zext(left, wide)
        accumulator = builder.add(accumulator, builder.mul(left, builder.sext(right, wide)))
    return accumulator


def emit_dot(emit, accumulator, a, b, kind=_PATH.dot):
    """``accumulator + dot(a, b)`` per int32 lane; a and b are int32 vectors that hold one group per lane."""
    builder, lanes = emit.builder, emit.lanes
    if kind == "vpdpbusd":
        # The operands are typed int32 although they are bytes: LLVM up to 20 knows only this form, later ones upgrade
        # it.
        width = 32 * lanes
        name = "llvm.x86.avx512.vpdpbusd." + str(width)
        return emit.call(name, emit.vector, accumulator, a, b)
    bytes_vector, words_vector = ir.VectorType(I8, 4 * lanes), ir.VectorType(I16, 2 * lanes)
    if kind == "sdot":
        # The instruction can take a group out of its second operand: LLVM sees that if b, which is the same for all
        # groups, comes first.
        name = f"llvm.aarch64.neon.sdot.v{lanes}i32.v{4 * lanes}i8"
        return emit.call(
            name, emit.vector, accumulator, builder.bitcast(b, bytes_vector), builder.bitcast(a, bytes_vector)
        )
    if kind == "vpmaddwd":
        name = "llvm.x86.avx2.pmadd.wd" if lanes == 8 else "llvm.x86.avx512.pmaddw.d.512"
        pair = emit.call(name, emit.vector, builder.bitcast(a, words_vector), builder.bitcast(b, words_vector))
        return builder.add(accumulator, pair)
    if kind == "vpmaddubsw":
        # Four products of a byte in 0..127 and a signed byte: two sums of at most 2 * 127 * 128, which fit in int16.
        to_words, to_sums = "llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd"
        if lanes == 16:
            to_words, to_sums = "llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512"
        pairs = emit.call(to_words, words_vector, builder.bitcast(a, bytes_vector), builder.bitcast(b, bytes_vector))
        ones = ir.Constant(words_vector, [I16(1)] * (2 * lanes))
        return builder.add(accumulator, emit.call(to_sums, emit.vector, pairs, ones))
    if kind == "generic2":
        return _generic_dot(
            emit, accumulator, builder.bitcast(a, words_vector), builder.bitcast(b, words_vector), 2, True
        )
    a, b = builder.bitcast(a, bytes_vector), builder.bitcast(b, bytes_vector)
    return _generic_dot(emit, accumulator, a, b, 4, kind == "generic4s")


def emit_matrix(emit, accumulator, a, b, kind=_PATH.matrix):
    """``accumulator + a * b'`` of two rows of 8 signed bytes each; accumulator: int32 (2, 2) row by row."""
    builder = emit.builder
    if kind == "smmla":
        return emit.call("llvm.aarch64.neon.smmla.v4i32.v16i8", emit.vector, accumulator, a, b)
    wide = ir.VectorType(I32, 4)
    for k in range(8):
        pair = [
            builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), ir.Constant(wide, order))
            for value, order in ((a, [k, k, 8 + k, 8 + k]), (b, [k, 8 + k, k, 8 + k]))
        ]
        left, right = (builder.sext(value, wide) for value in pair)
        accumulator = builder.add(accumulator, builder.mul(left, right))
    return accumulator
