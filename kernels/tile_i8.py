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
from numba.core import cgutils
from numba.extending import intrinsic

from tnnquant.kernels.simd import F32, I8, I16, I32, I64, Emitter
from tnnquant.kernels.target import features, isa

__all__ = [
    "BYTE_DOT",
    "GROUP",
    "PANEL",
    "PARAMETERS",
    "ROWS",
    "SHIFT",
    "emit_dot",
    "emit_round",
    "emit_tile",
    "requantize",
    "start_of_sums",
    "tile_i8",
]

_PATH = isa()
#: Output channels of a weight panel, output positions of the largest tile, products a dot sums, shift of activations.
PANEL, ROWS, GROUP, SHIFT = 2 * _PATH.lanes, _PATH.rows, _PATH.group, _PATH.shift
#: The instruction for activations that are all in 0..127 with zero point 0, as after a ReLU: 32 products in 3
#: operations where ``vpmaddwd`` needs 4. None where the path has no use for it.
BYTE_DOT = {"vpmaddwd": "vpmaddubsw", "generic2": "generic4s"}.get(_PATH.dot) if _PATH.lanes <= 8 else None
#: Rows of a panel's table of parameters, 4 bytes a channel: starting value of the sum (int32), S (float32), zero point
#: of the output (float32), 6 in output steps (int32), SA and zero point of the added blob times SA (float32).
PARAMETERS = 6
# Whether 8 lanes are narrowed by instructions that saturate.
_PACKS = _PATH.lanes == 8 and "avx2" in features()
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
    if kind == "vpmaddubsw":
        # Four products of a byte in 0..127 and a signed byte: two sums of at most 2 * 127 * 128, which fit in int16.
        pairs = emit.call(
            "llvm.x86.avx2.pmadd.ub.sw",
            words_vector,
            builder.bitcast(a, bytes_vector),
            builder.bitcast(b, bytes_vector),
        )
        ones = ir.Constant(words_vector, [I16(1)] * (2 * lanes))
        return builder.add(accumulator, emit.call("llvm.x86.avx2.pmadd.wd", emit.vector, pairs, ones))
    if kind == "generic2":
        return _generic_dot(
            emit, accumulator, builder.bitcast(a, words_vector), builder.bitcast(b, words_vector), 2, True
        )
    a, b = builder.bitcast(a, bytes_vector), builder.bitcast(b, bytes_vector)
    return _generic_dot(emit, accumulator, a, b, 4, kind == "generic4s")


def _parameter(emit, params, j, which, element):
    """Vector j of one row of a panel's table of parameters."""
    return emit.load(
        emit.at(emit.pointer(params, element), which * PANEL + j * emit.lanes), ir.VectorType(element, emit.lanes)
    )


def start_of_sums(emit, params, stride, vectors):
    """The int32 vectors that the sums of a row begin with; every two vectors a panel, ``stride`` bytes apart."""
    builder = emit.builder
    tables = [builder.add(params, builder.mul(stride, I64(panel))) for panel in range((vectors + 1) // 2)]
    return [_parameter(emit, tables[j // 2], j % 2, _START, I32) for j in range(vectors)]


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


def _scaled(emit, sums, params):
    """``f32(acc) * S`` of a pair of vectors."""
    floats = Emitter(emit.builder, emit.lanes, F32)
    return [
        emit.builder.fmul(emit.builder.sitofp(value, floats.vector), _parameter(floats, params, j, _SCALE, F32))
        for j, value in enumerate(sums)
    ]


def _relu6_pair(emit, sums, params, fusion, added):
    """``max(0, min(f2i8(v), R6))`` of ``v = f32(acc) * S``, plus the added blob if fusion is 1; no zero point."""
    builder, zero = emit.builder, emit.constant(0)
    floats = Emitter(builder, emit.lanes, F32)
    results = []
    for j, value in enumerate(_with_added(emit, _scaled(emit, sums, params), 1, params, fusion, added)):
        limit = _parameter(floats, params, j, _SIX, I32)
        rounded = emit_round(floats, value)
        below = builder.select(builder.icmp_signed("<", rounded, limit), rounded, limit)
        results.append(builder.select(builder.icmp_signed(">", below, zero), below, zero))
    return _narrow(emit, *results)


def _plain_pair(emit, sums, params, floor, fusion, added):
    """``f2i8(v + zero_out)`` of ``v = f32(acc) * S``; the added blob if fusion is 1; not below ``floor`` (0 for ReLU,
    else -inf); the added blob if fusion is 2.
    """
    builder = emit.builder
    floats = Emitter(builder, emit.lanes, F32)
    values = _with_added(emit, _scaled(emit, sums, params), 1, params, fusion, added)
    values = [floats.larger(floor, value) for value in values]
    values = _with_added(emit, values, 2, params, fusion, added)
    shifted = [builder.fadd(value, _parameter(floats, params, j, _ZERO, F32)) for j, value in enumerate(values)]
    return _narrow(emit, *[emit_round(floats, value, saturate=not _PACKS) for value in shifted])


def _with_added(emit, values, code, params, fusion, added):
    """``v + (f32(a * SA) - f32(za * SA))`` if ``fusion`` is ``code``, a being the added blob."""
    if added is None:
        return values
    builder, lanes = emit.builder, emit.lanes
    floats = Emitter(builder, lanes, F32)
    slots = [floats.variable(value) for value in values]
    with builder.if_then(builder.icmp_signed("==", fusion, I64(code)), likely=False):
        for j, value in enumerate(values):
            integers = floats.load(floats.at(added, j * lanes), ir.VectorType(I8, lanes))
            other = builder.sitofp(builder.sext(integers, ir.VectorType(I32, lanes)), floats.vector)
            term = builder.fmul(other, _parameter(floats, params, j, _ADDED_SCALE, F32))
            term = builder.fsub(term, _parameter(floats, params, j, _ADDED_ZERO, F32))
            builder.store(builder.fadd(value, term), slots[j])
    return [builder.load(slot) for slot in slots]


def _narrow(emit, low, high):
    """Two vectors of int32 as one of int8; with :data:`_PACKS` saturated, else they lie in -128..127."""
    builder = emit.builder
    if _PACKS:
        # The packs work on halves of 128 bits: (low 0-3, high 0-3, low 4-7, high 4-7), then put in order.
        words = emit.call("llvm.x86.avx2.packssdw", ir.VectorType(I16, 16), low, high)
        halves = [
            builder.shuffle_vector(words, words, ir.Constant(ir.VectorType(I32, 8), list(range(first, first + 8))))
            for first in (0, 8)
        ]
        packed = emit.call("llvm.x86.sse2.packsswb.128", ir.VectorType(I8, 16), *halves)
        order = [4 * block + i for block in (0, 2, 1, 3) for i in range(4)]
        return builder.shuffle_vector(packed, packed, ir.Constant(ir.VectorType(I32, 16), order))
    mask = ir.Constant(ir.VectorType(I32, 2 * emit.lanes), list(range(2 * emit.lanes)))
    both = builder.shuffle_vector(low, high, mask)
    return builder.trunc(both, ir.VectorType(I8, 2 * emit.lanes))


def requantize(emit, sums, steps, params, out, n, activation, fusion=None, added=None):
    """Rescales and stores the sums of a tile: a loop over rows of one panel each, from a buffer on the stack.

    TNN's float steps in TNN's order (reference, 6.3). In registers, the cases of the epilogue would keep a whole tile
    alive through them.

    Parameters
    ----------
    sums : int32 vectors ``[row][2]``
    steps : int64 values (count, out, params, n, added)
        How many rows to store, and what a row adds to the addresses and takes from n.
    params, out, n, activation, fusion, added : int64 values
        Addresses of the first row's parameters, output and added blob; the channels it has; see :func:`tile_i8`.
    """
    builder, lanes = emit.builder, emit.lanes
    count, out_step, params_step, n_step, added_step = steps
    buffer = cgutils.alloca_once(builder, ir.ArrayType(emit.vector, 2 * len(sums)))
    flat = builder.bitcast(buffer, I32.as_pointer())
    for index, value in enumerate(value for row in sums for value in row):
        emit.store(value, emit.at(flat, index * lanes))
    # Rows shorter than a panel go through a stage of whole panels, so that the loop has no second case. Before a row of
    # sums is overwritten by its 8-bit results (a quarter of its size) it has been read.
    stage = builder.bitcast(buffer, I8.as_pointer())
    is_whole = builder.icmp_signed(">=", builder.sub(n, builder.mul(builder.sub(count, I64(1)), n_step)), I64(PANEL))

    def staged(address, step):
        return (
            builder.select(is_whole, emit.pointer(address), stage),
            builder.select(is_whole, step, I64(PANEL)),
        )

    target, target_step = staged(out, out_step)
    if added is not None:
        others = builder.bitcast(cgutils.alloca_once(builder, ir.ArrayType(I8, PANEL * len(sums))), I8.as_pointer())
        other_start = builder.select(is_whole, emit.pointer(added), others)
        other_step = builder.select(is_whole, added_step, I64(PANEL))
        is_partly_added = builder.and_(builder.not_(is_whole), builder.icmp_signed("!=", fusion, I64(0)))
        with builder.if_then(is_partly_added, likely=False):
            _copy_rows(emit, others, I64(PANEL), emit.pointer(added), added_step, count, n, n_step)

    def each_row(compute):
        with emit.loop(count) as r:
            row = emit.at(flat, builder.mul(r, I64(PANEL)))
            table = builder.add(params, builder.mul(r, params_step))
            other = None if added is None else emit.at(other_start, builder.mul(r, other_step))
            pair = [emit.load(emit.at(row, j * lanes)) for j in (0, 1)]
            emit.store(compute(pair, table, other), emit.at(target, builder.mul(r, target_step)))

    # Two loops, so that neither has the constants of the other to load.
    with builder.if_else(builder.icmp_signed("==", activation, I64(2)), likely=False) as (relu6, other):
        with relu6:
            each_row(lambda pair, table, row: _relu6_pair(emit, pair, table, fusion, row))
        with other:
            is_relu = builder.icmp_signed("==", activation, I64(1))
            lowest = builder.select(is_relu, F32(0.0), F32(float("-inf")))
            floor = Emitter(builder, lanes, F32).splat(lowest)
            each_row(lambda pair, table, row: _plain_pair(emit, pair, table, floor, fusion, row))
    with builder.if_then(builder.not_(is_whole), likely=False):
        _copy_rows(emit, emit.pointer(out), out_step, stage, I64(PANEL), count, n, n_step)


def _copy_rows(emit, to, to_step, source, source_step, count, n, n_step):
    """Copies ``count`` rows of ``n`` bytes, ``n_step`` fewer from row to row but at most a panel."""
    builder = emit.builder
    with emit.loop(count) as r:
        left = builder.sub(n, builder.mul(r, n_step))
        size = builder.select(builder.icmp_signed("<", left, I64(PANEL)), left, I64(PANEL))
        read, write = emit.at(source, builder.mul(r, source_step)), emit.at(to, builder.mul(r, to_step))
        with emit.loop(size) as i:
            builder.store(builder.load(emit.at(read, i)), emit.at(write, i))


def _accumulate(emit, rows, vectors, dot, args):
    """The reduction; returns the sums as registers, ``[row][vector]``."""
    builder = emit.builder
    row_table, taps, tap_count, steps, weights, panel_stride, params, params_stride = args
    tap_table = emit.pointer(taps, I64)
    row_table = emit.pointer(row_table, I64)
    starts = [builder.load(emit.at(row_table, r)) for r in range(rows)]
    initial = start_of_sums(emit, params, params_stride, vectors)
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
                    builder.store(emit_dot(emit, builder.load(slot), group, columns[j], dot), slot)
    return [[builder.load(slot) for slot in line] for line in sums]


def emit_tile(builder, rows, vectors, dot, args):
    """The body of :func:`tile_i8`: LLVM IR only, so that it can be compiled for other machines than this one too."""
    emit = Emitter(builder, _PATH.lanes, I32)
    sums = _accumulate(emit, rows, vectors, dot, args[:8])
    params, params_stride, out, out_stride, added, added_stride, m, n, activation, fusion = args[6:]
    if vectors == 2:
        steps = (m, out_stride, I64(0), I64(0), added_stride)
    else:
        # One row of several panels: to the epilogue every panel is a row.
        sums = [sums[0][j : j + 2] for j in range(0, vectors, 2)]
        panels = builder.sdiv(builder.add(n, I64(PANEL - 1)), I64(PANEL))
        steps = (panels, I64(PANEL), params_stride, I64(PANEL), I64(PANEL))
    requantize(emit, sums, steps, params, out, n, activation, fusion, added)


def tile_i8(rows: int, vectors: int, dot: str = _PATH.dot):
    """An intrinsic that computes a tile of ``rows`` x 2 vectors, or of one row x several panels of 2 vectors.

    ``tile(row_table, taps, tap_count, steps, weights, panel_stride, params, params_stride, out, out_stride, added,
    added_stride, m, n, activation, fusion)``, all int64, addresses and strides in bytes:

    * row_table: int64 (rows,) addresses of each row's first tap; unused rows repeat a valid one;
    * taps: int64 (tap_count,) byte offsets added to every row; each tap has ``steps`` groups of 4 bytes in sequence;
    * weights: int32 words (tap_count * steps, PANEL), a group each; further panels lie ``panel_stride`` on;
    * params: (PARAMETERS, PANEL) words of the panel; those of further panels lie ``params_stride`` on;
    * out, added: int8 rows ``out_stride`` and ``added_stride`` apart; added is read only if fusion is not 0;
    * m, n: how many rows and channels of the tile exist; nothing is read or written outside them.
    """

    @intrinsic
    def tile(typingctx, row_table, taps, tap_count, steps, weights, panel_stride, params, params_stride, out,
             out_stride, added, added_stride, m, n, activation, fusion):  # fmt: skip
        def codegen(context, builder, sig, args):
            emit_tile(builder, rows, vectors, dot, args)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 16), codegen

    return tile
