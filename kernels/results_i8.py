"""What int8 results are made with, in registers (:mod:`~tnnquant.kernels.direct_i8`) and through memory
(:mod:`~tnnquant.kernels.requantize_i8`): the table of parameters, TNN's rounding, and vectors of int32 as bytes.
"""

from __future__ import annotations

from llvmlite import ir

from tnnquant.kernels.dot_i8 import PANEL
from tnnquant.kernels.simd import I8, I16, I32, I64, sweep
from tnnquant.kernels.target import features, isa

__all__ = [
    "ADDED_SCALE",
    "ADDED_ZERO",
    "CONVERTS",
    "PARAMETERS",
    "SCALE",
    "SIX",
    "SIX_BYTES",
    "START",
    "TILE_START",
    "ZERO",
    "copy_row",
    "emit_round",
    "floats_of",
    "joined",
    "pack",
    "parameter",
    "part",
    "start_of_sums",
]

#: Rows of a panel's table of parameters, 4 bytes per channel: starting value of the sum (int32), S (float32), zero
#: point of the output (float32), 6 in output steps (int32), SA and zero point of the added blob times SA (float32),
#: starting value of a sum of activations that are not shifted (int32); then a byte per channel, 6 in output steps
#: again.
PARAMETERS = 8
_LANES = isa().lanes
# Whether vectors are narrowed by instructions that saturate, and whether conversion of floats may be left to saturate
# below.
_PACKS = (_LANES == 8 and "avx2" in features()) or (_LANES == 16 and "avx512bw" in features())
CONVERTS = _LANES == 8 and "avx2" in features()
START, SCALE, ZERO, SIX, ADDED_SCALE, ADDED_ZERO, TILE_START, SIX_BYTES = range(PARAMETERS)


def parameter(emit, params, j, which, element):
    """Vector j of one row of a panel's table of parameters."""
    return emit.load(
        emit.at(emit.pointer(params, element), which * PANEL + j * emit.lanes), ir.VectorType(element, emit.lanes)
    )


def start_of_sums(emit, params, stride, vectors):
    """The int32 vectors that the sums of a row begin with; every two vectors a panel, ``stride`` bytes apart."""
    builder = emit.builder
    tables = [builder.add(params, builder.mul(stride, I64(panel))) for panel in range((vectors + 1) // 2)]
    return [parameter(emit, tables[j // 2], j % 2, START, I32) for j in range(vectors)]


def emit_round(floats, value, saturate=True):
    """f2i8 of TNN, as int32: half away from zero, then saturated to -128..127; NaN becomes 127.

    Without ``saturate`` what lies below stays below -128, for a narrowing that saturates itself.
    """
    builder = floats.builder
    half = floats.call(f"llvm.copysign.v{floats.lanes}f32", floats.vector, floats.constant(0.5), value)
    clamped = floats.smaller(builder.fadd(value, half), floats.constant(127.0))
    integers = ir.VectorType(I32, floats.lanes)
    if not saturate:
        # Unlike fptosi, defined for what does not fit: the lowest int32.
        return floats.call("llvm.x86.avx.cvtt.ps2dq.256", integers, clamped)
    return builder.fptosi(floats.larger(clamped, floats.constant(-128.0)), integers)


def pack(emit, vectors):
    """Four vectors of int32 as one of int8, in order, saturated."""
    builder, lanes = emit.builder, emit.lanes
    if not _PACKS:
        return _pack_plainly(emit, vectors)
    suffix = "avx2" if lanes == 8 else "avx512"
    width = "" if lanes == 8 else ".512"
    words = [
        emit.call(f"llvm.x86.{suffix}.packssdw{width}", ir.VectorType(I16, 2 * lanes), *pair)
        for pair in (vectors[:2], vectors[2:])
    ]
    packed = emit.call(f"llvm.x86.{suffix}.packsswb{width}", ir.VectorType(I8, 4 * lanes), *words)
    # The packs work on parts of 128 bits: four values of each vector in turn, then put in order.
    quads = lanes // 4
    order = [4 * quad + which for which in range(4) for quad in range(quads)]
    whole = builder.bitcast(packed, emit.vector)
    ordered = builder.shuffle_vector(whole, whole, ir.Constant(ir.VectorType(I32, lanes), order))
    return builder.bitcast(ordered, ir.VectorType(I8, 4 * lanes))


def _pack_plainly(emit, vectors):
    builder, lanes = emit.builder, emit.lanes
    narrow = []
    for value in vectors:
        for limit, sign in ((127, "<"), (-128, ">")):
            bound = emit.constant(limit, I32)
            value = builder.select(builder.icmp_signed(sign, value, bound), value, bound)
        narrow.append(builder.trunc(value, ir.VectorType(I8, lanes)))
    return joined(builder, [joined(builder, narrow[:2]), joined(builder, narrow[2:])])


def joined(builder, pair):
    count = pair[0].type.count
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(I32, 2 * count), list(range(2 * count))))


def part(builder, vector, first, count):
    """``count`` elements of a vector from ``first`` on."""
    order = ir.Constant(ir.VectorType(I32, count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, vector, order)


def floats_of(floats, pointer):
    """A vector of int8 in memory as float32."""
    builder, lanes = floats.builder, floats.lanes
    integers = floats.load(pointer, ir.VectorType(I8, lanes))
    return builder.sitofp(builder.sext(integers, ir.VectorType(I32, lanes)), floats.vector)


def copy_row(emit, to, source, count):
    """Copies ``count`` bytes, eight at a time if there are as many; the last eight may overlap those before them."""
    sweep(emit.builder, count, (8,), I8, lambda few, at: few.store(few.load(few.at(source, at)), few.at(to, at)))
