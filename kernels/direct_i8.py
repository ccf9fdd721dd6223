"""From int32 sums that are still in registers to int8 results: the simple ones, which most layers have.

No zero point of the output, nothing added after an activation, and factors so small that no result leaves int32
(:class:`~tnnquant.kernels.pack_i8.Simple`). Rounding and the comparisons with constants are monotonic, so that clamping
can wait until four vectors have become one of bytes: five operations per vector remain, and the integers are those of
:mod:`~tnnquant.kernels.requantize_i8`.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from tnnquant.kernels.dot_i8 import PANEL
from tnnquant.kernels.results_i8 import (
    ADDED_SCALE,
    ADDED_ZERO,
    SCALE,
    SIX_BYTES,
    copy_row,
    floats_of,
    joined,
    pack,
    parameter,
    part,
)
from tnnquant.kernels.simd import F32, I8, I32, I64, Emitter

__all__ = ["emit_direct"]


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
    """Addresses of rows, one byte per lane, on the stack."""
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
            copy_row(emit, emit.pointer(builder.load(at)), emit.pointer(builder.load(emit.at(at, 1))), n)

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
    factors = [parameter(floats, tables[j // 2], j % 2, ADDED_SCALE, F32) for j in range(vectors)]
    zeros = [parameter(floats, tables[j // 2], j % 2, ADDED_ZERO, F32) for j in range(vectors)]
    terms = []
    for there, here in zip(added, stage, strict=True):
        row = emit.pointer(builder.select(is_whole, there, here))
        terms.append(
            [
                builder.fsub(builder.fmul(floats_of(floats, emit.at(row, j * lanes)), factors[j]), zeros[j])
                for j in range(vectors)
            ]
        )
    return terms


def _clamped(emit, results, tables, vectors, activation):
    """Vectors of int32 as vectors of int8, four in one, within the limits of the activation."""
    builder = emit.builder
    low, high = _limits(emit, tables, vectors, activation)
    clamped = []
    for first in range(0, len(results), 4):
        packed = pack(emit, (results[first : first + 4] * 4)[:4])
        cap = high[first // 4 % len(high)]
        packed = builder.select(builder.icmp_signed("<", packed, cap), packed, cap)
        clamped.append(builder.select(builder.icmp_signed(">", packed, low), packed, low))
    return clamped


def _store_rows(emit, packed, targets, vectors):
    """Stores what :func:`_clamped` gave, row by row."""
    run, lanes = min(vectors, 4), emit.lanes
    for piece in range(0, len(targets) * vectors, run):
        row, column = divmod(piece, vectors)
        value = part(emit.builder, packed[piece // 4], piece % 4 * lanes, run * lanes)
        emit.store(value, emit.at(emit.pointer(targets[row]), column * lanes))


def _scaled_rows(emit, sums, tables):
    """``f32(acc) * S`` of the sums of a tile."""
    builder = emit.builder
    floats = Emitter(builder, emit.lanes, F32)
    scales = [parameter(floats, tables[j // 2], j % 2, SCALE, F32) for j in range(len(sums[0]))]
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
        six = emit.at(emit.pointer(table), 4 * PANEL * SIX_BYTES)
        panels.append(emit.load(six, ir.VectorType(I8, PANEL)))
    if vectors == 1:
        half = part(builder, panels[0], 0, emit.lanes)
        panels = [joined(builder, [half, half])]
    if vectors <= 2:
        panels = [panels[0], panels[0]]
    highest = wide.constant(127)
    caps = [joined(builder, panels[i : i + 2]) for i in range(0, len(panels), 2)]
    return low, [builder.select(is_relu6, cap, highest) for cap in caps]
