"""The int8 microkernel: a tile of output positions times vectors of output channels, int32 sums, int8 results.

Activations and weights are stored in groups of 4 bytes a channel lane: :data:`GROUP` is 4 (unsigned or signed bytes,
one ``vpdpbusd`` or ``sdot`` each) or 2 (int16, ``vpmaddwd``), see :mod:`~tnnquant.kernels.target`. Nothing saturates
on any path: ``vpdpbusd`` sums four products of at most 255 * 128 in an int32, ``vpmaddwd`` two of at most 255 * 255.

What the instruction cannot take is folded into the starting value of the sums (:mod:`~tnnquant.kernels.pack_i8`), so
every path yields ``sum (x - zero_x) * (w - zero_w) + bias`` exactly. The results are then rescaled, still in
registers, with the binary32 steps of TNN in its order (:func:`requantize`): the same int8 values on every path.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from tnnquant.kernels.simd import F32, I8, I16, I32, I64, Emitter
from tnnquant.kernels.target import isa

__all__ = [
    "GROUP",
    "PANEL",
    "PARAMETERS",
    "ROWS",
    "SHIFT",
    "emit_dot",
    "emit_round",
    "load_parameter",
    "requantize",
    "tile_i8",
]

_PATH = isa()
#: Output channels of a weight panel, output positions of the largest tile, products a dot sums, shift of activations.
PANEL, ROWS, GROUP, SHIFT = 2 * _PATH.lanes, _PATH.rows, _PATH.group, _PATH.shift
#: Rows of a panel's table of parameters, 4 bytes a channel: starting value of the sum (int32), S (float32), zero point
#: of the output (float32), 6 in output steps (int32), SA and zero point of the added blob times SA (float32).
PARAMETERS = 6
_START, _SCALE, _ZERO, _SIX, _ADDED_SCALE, _ADDED_ZERO = range(PARAMETERS)


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
    """``accumulator + dot(a, b)`` per int32 lane; a and b are int32 vectors that hold a group a lane."""
    builder, lanes = emit.builder, emit.lanes
    if kind == "vpdpbusd":
        # The operands are typed int32 although they are bytes: LLVM up to 20 knows only this form, later ones upgrade
        # it.
        width = 32 * lanes
        name = "llvm.x86.avx512.vpdpbusd." + str(width)
        return emit.call(name, emit.vector, accumulator, a, b)
    bytes_vector, words_vector = ir.VectorType(I8, 4 * lanes), ir.VectorType(I16, 2 * lanes)
    if kind == "sdot":
        name = f"llvm.aarch64.neon.sdot.v{lanes}i32.v{4 * lanes}i8"
        return emit.call(
            name, emit.vector, accumulator, builder.bitcast(a, bytes_vector), builder.bitcast(b, bytes_vector)
        )
    if kind == "vpmaddwd":
        name = "llvm.x86.avx2.pmadd.wd" if lanes == 8 else "llvm.x86.avx512.pmaddw.d.512"
        pair = emit.call(name, emit.vector, builder.bitcast(a, words_vector), builder.bitcast(b, words_vector))
        return builder.add(accumulator, pair)
    if kind == "generic2":
        return _generic_dot(
            emit, accumulator, builder.bitcast(a, words_vector), builder.bitcast(b, words_vector), 2, True
        )
    a, b = builder.bitcast(a, bytes_vector), builder.bitcast(b, bytes_vector)
    return _generic_dot(emit, accumulator, a, b, 4, kind == "generic4s")


def load_parameter(emit, params, stride, j, which, element):
    """Vector j of one row of the parameter tables; panels are ``stride`` bytes apart."""
    builder = emit.builder
    table = params if j < 2 else builder.add(params, builder.mul(stride, I64(j // 2)))
    offset = which * PANEL + (j % 2) * emit.lanes
    return emit.load(emit.at(emit.pointer(table, element), offset), ir.VectorType(element, emit.lanes))


def emit_round(floats, value):
    """f2i8 of TNN, as int32: half away from zero, then saturated to -128..127; NaN becomes 127."""
    builder = floats.builder
    half = floats.call(f"llvm.copysign.v{floats.lanes}f32", floats.vector, floats.constant(0.5), value)
    shifted = builder.fadd(value, half)
    clamped = floats.larger(floats.smaller(shifted, floats.constant(127.0)), floats.constant(-128.0))
    return builder.fptosi(clamped, ir.VectorType(I32, floats.lanes))


def _each(slots):
    return [(r, j, slot) for r, line in enumerate(slots) for j, slot in enumerate(line)]


def _added(floats, added, params, stride, columns, n):
    """``f32(a * SA) - f32(za * SA)`` of the rows of the added blob: slots ``[row][vector]``."""
    builder, lanes = floats.builder, floats.lanes
    terms = [[None] * columns for _ in added]
    for j in range(columns):
        scale = load_parameter(floats, params, stride, j, _ADDED_SCALE, F32)
        zero = load_parameter(floats, params, stride, j, _ADDED_ZERO, F32)
        for r, row in enumerate(added):
            left = builder.sub(n, I64(j * lanes))
            integers = floats.load_part(floats.at(row, j * lanes), left, I8)
            value = builder.sitofp(builder.sext(integers, ir.VectorType(I32, lanes)), floats.vector)
            terms[r][j] = floats.variable(builder.fsub(builder.fmul(value, scale), zero))
    return terms


def requantize(emit, sums, params, stride, activation, fusion, added, n):
    """int32 sums to int8, TNN's float steps in TNN's order (reference, 6.3); returns int8 vectors ``[row][pair]``.

    ``v = f32(acc) * S``; the added blob if fusion is 1; ReLU if activation is 1; ReLU6 (activation 2) ends here with
    ``max(0, min(f2i8(v), R6))``; the added blob if fusion is 2; ``f2i8(v + zero_out)``.
    """
    builder, lanes = emit.builder, emit.lanes
    floats = Emitter(builder, lanes, F32)
    columns = len(sums[0])
    scales = [load_parameter(floats, params, stride, j, _SCALE, F32) for j in range(columns)]
    values = [
        [floats.variable(builder.fmul(builder.sitofp(value, floats.vector), scales[j])) for j, value in enumerate(line)]
        for line in sums
    ]
    results = [[emit.variable(emit.constant(0)) for _ in line] for line in sums]

    def add_terms(code):
        with builder.if_then(builder.icmp_signed("==", fusion, I64(code)), likely=False):
            terms = _added(floats, added, params, stride, columns, n)
            for r, j, slot in _each(values):
                builder.store(builder.fadd(builder.load(slot), builder.load(terms[r][j])), slot)

    if added is not None:
        add_terms(1)
    with builder.if_then(builder.icmp_signed("==", activation, I64(1))):
        for _, _, slot in _each(values):
            builder.store(floats.larger(builder.load(slot), floats.constant(0.0)), slot)
    with builder.if_else(builder.icmp_signed("==", activation, I64(2))) as (relu6, other):
        with relu6:
            for r, j, slot in _each(values):
                six = load_parameter(floats, params, stride, j, _SIX, I32)
                rounded = emit_round(floats, builder.load(slot))
                below = builder.select(builder.icmp_signed("<", rounded, six), rounded, six)
                positive = builder.icmp_signed(">", below, emit.constant(0))
                builder.store(builder.select(positive, below, emit.constant(0)), results[r][j])
        with other:
            if added is not None:
                add_terms(2)
            zeros = [load_parameter(floats, params, stride, j, _ZERO, F32) for j in range(columns)]
            for r, j, slot in _each(values):
                builder.store(emit_round(floats, builder.fadd(builder.load(slot), zeros[j])), results[r][j])
    return [
        [_narrow(emit, builder.load(line[j]), builder.load(line[j + 1])) for j in range(0, columns, 2)]
        for line in results
    ]


def _narrow(emit, low, high):
    """Two vectors of int32 in -128..127 as one of int8."""
    mask = ir.Constant(ir.VectorType(I32, 2 * emit.lanes), list(range(2 * emit.lanes)))
    both = emit.builder.shuffle_vector(low, high, mask)
    return emit.builder.trunc(both, ir.VectorType(I8, 2 * emit.lanes))


def _accumulate(emit, rows, vectors, args):
    """The reduction; returns the sums as registers, ``[row][vector]``."""
    builder = emit.builder
    row_table, taps, tap_count, steps, weights, panel_stride, params, params_stride = args
    tap_table = emit.pointer(taps, I64)
    row_table = emit.pointer(row_table, I64)
    starts = [builder.load(emit.at(row_table, r)) for r in range(rows)]
    initial = [load_parameter(emit, params, params_stride, j, _START, I32) for j in range(vectors)]
    sums = [[emit.variable(initial[j]) for j in range(vectors)] for _ in range(rows)]
    weight_at = emit.variable(weights)
    with emit.loop(tap_count) as t:
        offset = builder.load(emit.at(tap_table, t))
        pixels = [emit.pointer(builder.add(start, offset), I32) for start in starts]
        with emit.loop(steps) as k:
            here = builder.load(weight_at)
            columns = []
            for j in range(vectors):
                panel = here if j < 2 else builder.add(here, builder.mul(panel_stride, I64(j // 2)))
                columns.append(emit.load(emit.at(emit.pointer(panel, I32), (j % 2) * emit.lanes)))
            builder.store(builder.add(here, I64(4 * PANEL)), weight_at)
            for r in range(rows):
                group = emit.splat(builder.load(emit.at(pixels[r], k), align=1))
                for j in range(vectors):
                    slot = sums[r][j]
                    builder.store(emit_dot(emit, builder.load(slot), group, columns[j]), slot)
    return [[builder.load(slot) for slot in line] for line in sums]


def tile_i8(rows: int, vectors: int):
    """An intrinsic that computes a tile of ``rows`` x ``vectors`` vectors.

    ``tile(row_table, taps, tap_count, steps, weights, panel_stride, params, params_stride, out, out_stride, added,
    added_stride, m, n, activation, fusion)``, all int64, addresses and strides in bytes:

    * row_table: int64 (rows,) addresses of each row's first tap; unused rows repeat a valid one;
    * taps: int64 (tap_count,) byte offsets added to every row; each tap has ``steps`` groups of 4 bytes in sequence;
    * weights: int32 words (tap_count * steps, PANEL), a group each; vectors 2, 3 lie in the next panel;
    * params: (PARAMETERS, PANEL) words of the panel;
    * out, added: int8 rows ``out_stride`` and ``added_stride`` apart; added is read only if fusion is not 0;
    * m, n: how many rows and channels of the tile exist; nothing is read or written outside them.
    """

    @intrinsic
    def tile(typingctx, row_table, taps, tap_count, steps, weights, panel_stride, params, params_stride, out,
             out_stride, added, added_stride, m, n, activation, fusion):  # fmt: skip
        def codegen(context, builder, sig, args):
            emit = Emitter(builder, _PATH.lanes, I32)
            sums = _accumulate(emit, rows, vectors, args[:8])
            params, params_stride, out, out_stride, added, added_stride, m, n, activation, fusion = args[6:]
            last = builder.sub(m, I64(1))
            which = [builder.select(builder.icmp_signed("<", last, I64(r)), last, I64(r)) for r in range(rows)]
            others = [emit.pointer(builder.add(added, builder.mul(row, added_stride))) for row in which]
            values = requantize(emit, sums, params, params_stride, activation, fusion, others, n)
            targets = [emit.pointer(builder.add(out, builder.mul(row, out_stride))) for row in which]
            Emitter(builder, 2 * emit.lanes, I8).store_tile(values, targets, n)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 16), codegen

    return tile
