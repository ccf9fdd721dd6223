"""From int32 sums to int8 results, with the binary32 steps of TNN in its order (reference, 6.3).

Two ways to the same integers:

* :func:`emit_direct`, for sums that are still in registers: no zero point of the output, nothing added behind an
  activation, and factors so small that no result leaves int32 (:class:`~tnnquant.kernels.pack_i8.Simple`). Rounding
  and the comparisons with constants are monotonic, so that clamping can wait until four vectors have become one of
  bytes: five operations a vector remain.
* :func:`requantize` for all others, a loop over rows of sums in memory; :func:`requantize_rows` is that as a function,
  compiled once.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tnnquant.kernels.dot_i8 import PANEL, ROWS
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import F32, I8, I16, I32, I64, Emitter, sweep
from tnnquant.kernels.target import features, isa

__all__ = [
    "PARAMETERS",
    "emit_direct",
    "emit_round",
    "keep_sums",
    "requantize",
    "requantize_rows",
    "start_of_sums",
]

#: Rows of a panel's table of parameters, 4 bytes a channel: starting value of the sum (int32), S (float32), zero point
#: of the output (float32), 6 in output steps (int32), SA and zero point of the added blob times SA (float32); then a
#: byte a channel, 6 in output steps again.
PARAMETERS = 7
_LANES = isa().lanes
# Whether vectors are narrowed by instructions that saturate, and whether conversion of floats may be left to saturate
# below.
_PACKS = (_LANES == 8 and "avx2" in features()) or (_LANES == 16 and "avx512bw" in features())
_CONVERTS = _LANES == 8 and "avx2" in features()
_START, _SCALE, _ZERO, _SIX, _ADDED_SCALE, _ADDED_ZERO, _SIX_BYTES = range(PARAMETERS)


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


# -- narrowing ---------------------------------------------------------------------------------------------------------


def _pack(emit, vectors):
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
    return _joined(builder, [_joined(builder, narrow[:2]), _joined(builder, narrow[2:])])


def _joined(builder, pair):
    count = pair[0].type.count
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(I32, 2 * count), list(range(2 * count))))


def _part(builder, vector, first, count):
    """``count`` elements of a vector from ``first`` on."""
    order = ir.Constant(ir.VectorType(I32, count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, vector, order)


# -- in registers ------------------------------------------------------------------------------------------------------


def emit_direct(emit, sums, tables, targets, n, activation, fusion=None, added=None):
    """Rescales and stores the sums of a tile of simple results; see the module.

    Parameters
    ----------
    sums : int32 vectors ``[row][vector]``
    tables : int64 values
        Addresses of the parameters of every two vectors of a row.
    targets : int64 values
        Where the rows go.
    n, activation : int64 values
        ``n`` channels of a row exist.
    fusion, added : int64 value and int64 values
        Where the rows of the added blob are, if fusion is not 0.
    """
    builder, vectors = emit.builder, len(sums[0])
    values = _scaled_rows(emit, sums, tables)
    if added is not None:
        slots = [[emit.variable(value) for value in row] for row in values]
        with builder.if_then(builder.icmp_signed("!=", fusion, I64(0)), likely=False):
            for row, terms in zip(slots, _terms(emit, tables, added, n, vectors), strict=True):
                for slot, term in zip(row, terms, strict=True):
                    builder.store(builder.fadd(builder.load(slot), term), slot)
        values = [[builder.load(slot) for slot in row] for row in slots]
    packed = _clamped(emit, _rounded_simply(emit, values, activation), tables, vectors, activation)
    with builder.if_else(builder.icmp_signed(">=", n, I64(vectors * emit.lanes)), likely=True) as (whole, part):
        with whole:
            _store_rows(emit, packed, targets, vectors)
        with part:
            # Only n bytes of every row, from a copy of the rows in memory.
            stage = _stage(emit, len(targets), vectors)
            _store_rows(emit, packed, stage, vectors)
            _copy_parts(emit, targets, stage, vectors, n)


def _stage(emit, rows, vectors):
    """Addresses of rows of a byte a lane, on the stack."""
    size = vectors * emit.lanes
    start = emit.builder.ptrtoint(cgutils.alloca_once(emit.builder, ir.ArrayType(I8, rows * size)), I64)
    return [emit.builder.add(start, I64(r * size)) for r in range(rows)]


def _copy_parts(emit, to, source, vectors, n):
    """Copies ``n`` bytes, fewer than the vectors have lanes, of every row between lists of addresses."""
    builder, lanes = emit.builder, emit.lanes

    def one_by_one():
        table = builder.bitcast(cgutils.alloca_once(builder, ir.ArrayType(I64, 2 * len(to))), I64.as_pointer())
        for r, pair in enumerate(zip(to, source, strict=True)):
            for i, address in enumerate(pair):
                builder.store(address, emit.at(table, 2 * r + i))
        with emit.loop(I64(len(to))) as r:
            at = emit.at(table, builder.mul(r, I64(2)))
            _copy_row(emit, emit.pointer(builder.load(at)), emit.pointer(builder.load(emit.at(at, 1))), n)

    if vectors != 2:
        one_by_one()
        return
    with builder.if_else(builder.icmp_signed(">=", n, I64(lanes))) as (most, few):
        with most:
            # The first vector, and one that overlaps it up to the end.
            piece, end = ir.VectorType(I8, lanes), builder.sub(n, I64(lanes))
            for write, read in zip(to, source, strict=True):
                write, read = emit.pointer(write), emit.pointer(read)
                first, last = emit.load(read, piece), emit.load(emit.at(read, end), piece)
                emit.store(first, write)
                emit.store(last, emit.at(write, end))
        with few:
            one_by_one()


def _terms(emit, tables, added, n, vectors):
    """``f32(a * SA) - f32(za * SA)`` of rows of the added blob, ``[row][vector]``; nothing beyond n is read."""
    builder, lanes = emit.builder, emit.lanes
    floats = Emitter(builder, lanes, F32)
    is_whole = builder.icmp_signed(">=", n, I64(vectors * lanes))
    stage = _stage(emit, len(added), vectors)
    with builder.if_then(builder.not_(is_whole), likely=False):
        _copy_parts(emit, stage, added, vectors, n)
    factors = [_parameter(floats, tables[j // 2], j % 2, _ADDED_SCALE, F32) for j in range(vectors)]
    zeros = [_parameter(floats, tables[j // 2], j % 2, _ADDED_ZERO, F32) for j in range(vectors)]
    terms = []
    for there, here in zip(added, stage, strict=True):
        row = emit.pointer(builder.select(is_whole, there, here))
        terms.append(
            [
                builder.fsub(builder.fmul(_floats_of(floats, emit.at(row, j * lanes)), factors[j]), zeros[j])
                for j in range(vectors)
            ]
        )
    return terms


def _floats_of(floats, pointer):
    """A vector of int8 in memory as float32."""
    builder, lanes = floats.builder, floats.lanes
    integers = floats.load(pointer, ir.VectorType(I8, lanes))
    return builder.sitofp(builder.sext(integers, ir.VectorType(I32, lanes)), floats.vector)


def _clamped(emit, results, tables, vectors, activation):
    """Vectors of int32 as vectors of int8, four in one, within the limits of the activation."""
    builder = emit.builder
    low, high = _limits(emit, tables, vectors, activation)
    clamped = []
    for first in range(0, len(results), 4):
        packed = _pack(emit, (results[first : first + 4] * 4)[:4])
        cap = high[first // 4 % len(high)]
        packed = builder.select(builder.icmp_signed("<", packed, cap), packed, cap)
        clamped.append(builder.select(builder.icmp_signed(">", packed, low), packed, low))
    return clamped


def _store_rows(emit, packed, targets, vectors):
    """Stores what :func:`_clamped` gave, row by row."""
    run, lanes = min(vectors, 4), emit.lanes
    for piece in range(0, len(targets) * vectors, run):
        row, column = divmod(piece, vectors)
        part = _part(emit.builder, packed[piece // 4], piece % 4 * lanes, run * lanes)
        emit.store(part, emit.at(emit.pointer(targets[row]), column * lanes))


def _scaled_rows(emit, sums, tables):
    """``f32(acc) * S`` of the sums of a tile."""
    builder = emit.builder
    floats = Emitter(builder, emit.lanes, F32)
    scales = [_parameter(floats, tables[j // 2], j % 2, _SCALE, F32) for j in range(len(sums[0]))]
    return [
        [builder.fmul(builder.sitofp(value, floats.vector), scale) for value, scale in zip(row, scales, strict=True)]
        for row in sums
    ]


def _rounded_simply(emit, values, activation):
    """``trunc(v + copysign(0.5, v))``, all vectors in order. After an activation the sign does not matter: what is
    below 0 becomes 0 either way.
    """
    builder = emit.builder
    is_plain = builder.icmp_signed("==", activation, I64(0))
    sign = emit.splat(builder.select(is_plain, I32(-0x80000000), I32(0)))
    half = emit.constant(0x3F000000, I32)
    results = []
    for value in (value for row in values for value in row):
        signed = builder.or_(builder.and_(builder.bitcast(value, emit.vector), sign), half)
        results.append(builder.fptosi(builder.fadd(value, builder.bitcast(signed, value.type)), emit.vector))
    return results


def _limits(emit, tables, vectors, activation):
    """The lowest result (one vector of bytes) and the highest (one for each four vectors of a row)."""
    builder, size = emit.builder, 4 * emit.lanes
    wide = Emitter(builder, size, I8)
    is_plain = builder.icmp_signed("==", activation, I64(0))
    is_relu6 = builder.icmp_signed("==", activation, I64(2))
    low = wide.splat(builder.select(is_plain, I8(-128), I8(0)))
    panels = []
    for table in tables:
        six = emit.at(emit.pointer(table), 4 * PANEL * _SIX_BYTES)
        panels.append(emit.load(six, ir.VectorType(I8, PANEL)))
    if vectors == 1:
        half = _part(builder, panels[0], 0, emit.lanes)
        panels = [_joined(builder, [half, half])]
    if vectors <= 2:
        panels = [panels[0], panels[0]]
    highest = wide.constant(127)
    caps = [_joined(builder, panels[i : i + 2]) for i in range(0, len(panels), 2)]
    return low, [builder.select(is_relu6, cap, highest) for cap in caps]


# -- through memory ----------------------------------------------------------------------------------------------------


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
    return _narrow(emit, results)


def _plain_pair(emit, sums, params, is_relu, fusion, added):
    """``f2i8(v + zero_out)`` of ``v = f32(acc) * S``; the added blob if fusion is 1; ReLU, of which NaN makes 0 as in
    TNN; the added blob if fusion is 2.
    """
    builder = emit.builder
    floats = Emitter(builder, emit.lanes, F32)
    values = _with_added(emit, _scaled(emit, sums, params), 1, params, fusion, added)
    values = [builder.select(is_relu, floats.larger(value, floats.constant(0.0)), value) for value in values]
    values = _with_added(emit, values, 2, params, fusion, added)
    shifted = [builder.fadd(value, _parameter(floats, params, j, _ZERO, F32)) for j, value in enumerate(values)]
    return _narrow(emit, [emit_round(floats, value, saturate=not _CONVERTS) for value in shifted])


def _with_added(emit, values, code, params, fusion, added):
    """``v + (f32(a * SA) - f32(za * SA))`` if ``fusion`` is ``code``, a being the added blob."""
    if added is None:
        return values
    builder, lanes = emit.builder, emit.lanes
    floats = Emitter(builder, lanes, F32)
    slots = [floats.variable(value) for value in values]
    with builder.if_then(builder.icmp_signed("==", fusion, I64(code)), likely=False):
        for j, value in enumerate(values):
            other = _floats_of(floats, floats.at(added, j * lanes))
            term = builder.fmul(other, _parameter(floats, params, j, _ADDED_SCALE, F32))
            term = builder.fsub(term, _parameter(floats, params, j, _ADDED_ZERO, F32))
            builder.store(builder.fadd(value, term), slots[j])
    return [builder.load(slot) for slot in slots]


def _narrow(emit, pair):
    """Two vectors of int32 as one of int8, saturated."""
    return _part(emit.builder, _pack(emit, [*pair, *pair]), 0, 2 * emit.lanes)


def keep_sums(emit, sums, buffer):
    """Stores the sums of a tile for :func:`requantize`: whole panels, row by row."""
    flat, lanes = emit.pointer(buffer, I32), emit.lanes
    for r, row in enumerate(sums):
        for j, value in enumerate(row):
            emit.store(value, emit.at(flat, r * max(PANEL, len(row) * lanes) + j * lanes))


def requantize(emit, buffer, steps, params, out, n, activation, fusion=None, added=None):
    """Rescales and stores rows of sums, a loop over rows of one panel each.

    TNN's float steps in TNN's order. The rows are a loop because the cases of the epilogue would keep a whole tile
    alive through them.

    Parameters
    ----------
    buffer : int64 value
        Address of int32 (count, PANEL); overwritten.
    steps : int64 values (count, out, params, n, added)
        How many rows to store, at most ROWS, and what a row adds to the addresses and takes from n.
    params, out, n, activation, fusion, added : int64 values
        Addresses of the first row's parameters, output and added blob; the channels it has; see
        :func:`~tnnquant.kernels.tile_i8.tile_i8`.
    """
    builder, lanes = emit.builder, emit.lanes
    count, out_step, params_step, n_step, added_step = steps
    flat = emit.pointer(buffer, I32)
    # Rows shorter than a panel go through a stage of whole panels, so that the loop has no second case. Before a row of
    # sums is overwritten by its 8-bit results (a quarter of its size) it has been read.
    stage = emit.pointer(buffer)
    is_whole = builder.icmp_signed(">=", builder.sub(n, builder.mul(builder.sub(count, I64(1)), n_step)), I64(PANEL))

    def staged(address, step):
        return (
            builder.select(is_whole, emit.pointer(address), stage),
            builder.select(is_whole, step, I64(PANEL)),
        )

    target, target_step = staged(out, out_step)
    if added is not None:
        others = builder.bitcast(cgutils.alloca_once(builder, ir.ArrayType(I8, PANEL * max(ROWS, 4))), I8.as_pointer())
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
            each_row(lambda pair, table, row: _plain_pair(emit, pair, table, is_relu, fusion, row))
    with builder.if_then(builder.not_(is_whole), likely=False):
        _copy_rows(emit, emit.pointer(out), out_step, stage, I64(PANEL), count, n, n_step)


def _copy_rows(emit, to, to_step, source, source_step, count, n, n_step):
    """Copies ``count`` rows of ``n`` bytes, ``n_step`` fewer from row to row but at most a panel."""
    builder = emit.builder
    with emit.loop(count) as r:
        left = builder.sub(n, builder.mul(r, n_step))
        size = builder.select(builder.icmp_signed("<", left, I64(PANEL)), left, I64(PANEL))
        read, write = emit.at(source, builder.mul(r, source_step)), emit.at(to, builder.mul(r, to_step))
        _copy_row(emit, write, read, size)


def _copy_row(emit, to, source, count):
    """Copies ``count`` bytes, eight at a time if there are as many; the last eight may overlap those before them."""
    sweep(emit.builder, count, (8,), I8, lambda part, at: part.store(part.load(part.at(source, at)), part.at(to, at)))


@intrinsic
def _requantize_rows(typingctx, buffer, count, out_step, params_step, n_step, added_step, params, out, n, activation,
                     fusion, added):  # fmt: skip
    def codegen(context, builder, sig, args):
        buffer, *steps = args[:6]
        requantize(Emitter(builder, _LANES, I32), buffer, steps, *args[6:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 12), codegen


@kernel
def requantize_rows(
    buffer, count, out_step, params_step, n_step, added_step, params, out, n, activation, fusion, added
):
    """:func:`requantize` as a function: address of the sums, the steps, and the rest; all int64."""
    _requantize_rows(
        buffer, count, out_step, params_step, n_step, added_step, params, out, n, activation, fusion, added
    )
