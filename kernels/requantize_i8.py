"""From int32 sums in memory to int8 results, with the binary32 steps of TNN in its order (docs/tnn-format.md, 6.3):
every case.

:func:`requantize` is a loop over rows of sums, :func:`requantize_rows` that as a function, compiled once. Simple
results need none of this: :mod:`~tnnquant.kernels.direct_i8`.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tnnquant.kernels.dot_i8 import PANEL, ROWS
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.results_i8 import (
    ADDED_SCALE,
    ADDED_ZERO,
    CONVERTS,
    SCALE,
    SIX,
    ZERO,
    copy_row,
    emit_round,
    floats_of,
    pack,
    parameter,
    part,
)
from tnnquant.kernels.simd import F32, I8, I32, I64, Emitter
from tnnquant.kernels.target import isa

__all__ = ["emit_row", "keep_sums", "requantize", "requantize_rows"]

_LANES = isa().lanes


def _scaled(emit, sums, params):
    """``f32(acc) * S`` of a pair of vectors."""
    floats = Emitter(emit.builder, emit.lanes, F32)
    return [
        emit.builder.fmul(emit.builder.sitofp(value, floats.vector), parameter(floats, params, j, SCALE, F32))
        for j, value in enumerate(sums)
    ]


def _relu6_pair(emit, sums, params, fusion, added):
    """``max(0, min(f2i8(v), R6))`` of ``v = f32(acc) * S``, plus the added blob if fusion is 1; no zero point."""
    builder, zero = emit.builder, emit.constant(0)
    floats = Emitter(builder, emit.lanes, F32)
    results = []
    for j, value in enumerate(_with_added(emit, _scaled(emit, sums, params), 1, params, fusion, added)):
        limit = parameter(floats, params, j, SIX, I32)
        rounded = emit_round(floats, value)
        below = builder.select(builder.icmp_signed("<", rounded, limit), rounded, limit)
        results.append(builder.select(builder.icmp_signed(">", below, zero), below, zero))
    return _narrow(emit, results)


def _plain_pair(emit, sums, params, is_relu, fusion, added):
    """``f2i8(v + zero_out)`` of ``v = f32(acc) * S``; the added blob if fusion is 1; ReLU, which turns NaN into 0
    as in TNN; the added blob if fusion is 2.
    """
    builder = emit.builder
    floats = Emitter(builder, emit.lanes, F32)
    values = _with_added(emit, _scaled(emit, sums, params), 1, params, fusion, added)
    values = [builder.select(is_relu, floats.larger(value, floats.constant(0.0)), value) for value in values]
    values = _with_added(emit, values, 2, params, fusion, added)
    shifted = [builder.fadd(value, parameter(floats, params, j, ZERO, F32)) for j, value in enumerate(values)]
    return _narrow(emit, [emit_round(floats, value, saturate=not CONVERTS) for value in shifted])


def _with_added(emit, values, code, params, fusion, added):
    """``v + (f32(a * SA) - f32(za * SA))`` if ``fusion`` is ``code``, a being the added blob."""
    if added is None:
        return values
    builder, lanes = emit.builder, emit.lanes
    floats = Emitter(builder, lanes, F32)
    slots = [floats.variable(value) for value in values]
    with builder.if_then(builder.icmp_signed("==", fusion, I64(code)), likely=False):
        for j, value in enumerate(values):
            other = floats_of(floats, floats.at(added, j * lanes))
            term = builder.fmul(other, parameter(floats, params, j, ADDED_SCALE, F32))
            term = builder.fsub(term, parameter(floats, params, j, ADDED_ZERO, F32))
            builder.store(builder.fadd(value, term), slots[j])
    return [builder.load(slot) for slot in slots]


def _narrow(emit, pair):
    """Two vectors of int32 as one of int8, saturated."""
    return part(emit.builder, pack(emit, [*pair, *pair]), 0, 2 * emit.lanes)


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


def emit_row(emit, pair, params, out, n, activation, fusion, added):
    """Rescales and stores one row: a pair of vectors of sums, to ``n`` channels at ``out``; see :func:`requantize`."""
    builder = emit.builder
    here, there = (
        builder.bitcast(cgutils.alloca_once(builder, ir.ArrayType(I8, PANEL)), I8.as_pointer()) for _ in range(2)
    )
    is_whole = builder.icmp_signed(">=", n, I64(PANEL))
    is_partly_added = builder.and_(builder.not_(is_whole), builder.icmp_signed("!=", fusion, I64(0)))
    with builder.if_then(is_partly_added, likely=False):
        copy_row(emit, here, emit.pointer(added), n)
    other = builder.select(is_whole, emit.pointer(added), here)
    target = builder.select(is_whole, emit.pointer(out), there)
    with builder.if_else(builder.icmp_signed("==", activation, I64(2)), likely=False) as (relu6, plain):
        with relu6:
            emit.store(_relu6_pair(emit, pair, params, fusion, other), target)
        with plain:
            is_relu = builder.icmp_signed("==", activation, I64(1))
            emit.store(_plain_pair(emit, pair, params, is_relu, fusion, other), target)
    with builder.if_then(builder.not_(is_whole), likely=False):
        copy_row(emit, emit.pointer(out), there, n)


def _copy_rows(emit, to, to_step, source, source_step, count, n, n_step):
    """Copies ``count`` rows of ``n`` bytes, ``n_step`` fewer from row to row but at most a panel."""
    builder = emit.builder
    with emit.loop(count) as r:
        left = builder.sub(n, builder.mul(r, n_step))
        size = builder.select(builder.icmp_signed("<", left, I64(PANEL)), left, I64(PANEL))
        read, write = emit.at(source, builder.mul(r, source_step)), emit.at(to, builder.mul(r, to_step))
        copy_row(emit, write, read, size)


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
