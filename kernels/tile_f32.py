"""The fp32 microkernel: a tile of output positions times vectors of output channels, over all taps of a kernel.

Rows are addresses: a tile does not care whether they point at pixels in place, at a padded copy or at the rows of a
matrix. Every output element has one accumulator that starts at 0 and runs over the taps in order and the channels of a
tap in order (TNN's own order, kh, kw, c), so its bits do not depend on the tile it falls into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tnnquant.kernels.simd import F32, I32, I64, Emitter, row_pointers, sweep
from tnnquant.kernels.target import isa

if TYPE_CHECKING:
    from tnnquant.kernels.jit import Intrinsic

__all__ = ["EXACT", "PANEL", "ROWS", "activate", "emit_tile", "reduce_either_way", "split_activation", "tile_f32"]

_PATH = isa()
#: Output channels of a weight panel: two vectors.
PANEL = 2 * _PATH.lanes
#: Added to an activation code: round products before they are added, as TNN's own CPU device does, instead of fusing.
#: The sums then have TNN's bits, on every machine; it costs up to half the speed.
EXACT = 16
#: Output positions of the largest tile.
ROWS = _PATH.rows


def _columns(builder, vectors):
    """The vectors of a tile, the last one a half if ``vectors`` is no integer: of each, what emits it, its panel, and
    its first channel there.
    """
    whole = int(vectors)
    columns = [(Emitter(builder, _PATH.lanes), j // 2, j % 2 * _PATH.lanes) for j in range(whole)]
    if vectors > whole:
        columns.append((Emitter(builder, _PATH.lanes // 2), whole // 2, whole % 2 * _PATH.lanes))
    return columns


def _accumulate(columns, rows, args, exact, streams=(), kept=None):
    """The reduction; returns the accumulators as registers, ``[row][column]``. ``exact``: an i1, or None for never.
    ``streams``: slots with an address, of which a line is fetched into a nearer cache per step, and how far they move.
    ``kept``: address of sums to go on from, or 0.
    """
    emit = columns[0][0]
    builder = emit.builder
    row_table, taps, tap_count, channels, weights, panel_stride = args
    tap_table, row_table = emit.pointer(taps, I64), emit.pointer(row_table, I64)
    accumulators = [[column.variable(column.constant(0.0)) for column, _, _ in columns] for _ in range(rows)]
    if kept is not None:
        with builder.if_then(builder.icmp_signed("!=", kept, I64(0))):
            for slot, at in _in_rows(columns, accumulators, kept):
                builder.store(emit.load(at), slot)
    weight_at = emit.variable(weights)

    def reduce(add_product):
        with emit.loop(tap_count) as t:
            offset = builder.load(emit.at(tap_table, t))
            pixels = row_pointers(emit, row_table, rows, offset, F32)
            with emit.loop(channels) as k:
                here = builder.load(weight_at)
                weight = []
                for column, panel, first in columns:
                    base = builder.add(here, builder.mul(panel_stride, I64(panel))) if panel else here
                    weight.append(column.load(column.at(emit.pointer(base, F32), first)))
                builder.store(builder.add(here, I64(4 * PANEL)), weight_at)
                for at, step in streams:
                    fetched = builder.load(at)
                    emit.call("llvm.prefetch.p0", ir.VoidType(), emit.pointer(fetched), I32(0), I32(2), I32(1))
                    builder.store(builder.add(fetched, step), at)
                for r in range(rows):
                    value = builder.load(emit.at(pixels[r], k))
                    for j, (column, _, _) in enumerate(columns):
                        slot = accumulators[r][j]
                        product = add_product(column, column.splat(value), weight[j], builder.load(slot))
                        builder.store(product, slot)

    reduce_either_way(builder, exact, reduce)
    return [[builder.load(slot) for slot in line] for line in accumulators]


def _in_rows(columns, values, address):
    """Each value of ``[row][column]`` and its place, where rows lie one after the other from an address on."""
    emit, width = columns[0][0], sum(column.lanes for column, _, _ in columns)
    for r, line in enumerate(values):
        first = r * width
        for value, (column, _, _) in zip(line, columns, strict=True):
            yield value, emit.at(emit.pointer(address, F32), first)
            first += column.lanes


def reduce_either_way(builder, exact, reduce):
    """Emits ``reduce(add_product)``, add_product taking (emit, a, b, total), with fused multiply-adds and, if ``exact``
    is an i1, also with two roundings.
    """

    def fused(emit, a, b, total):
        return emit.multiply_add(a, b, total)

    if exact is None:
        reduce(fused)
        return
    with builder.if_else(exact) as (two_roundings, one):
        with two_roundings:
            reduce(lambda emit, a, b, total: builder.fadd(builder.fmul(a, b), total))
        with one:
            reduce(fused)


def split_activation(builder, activation):
    """The activation code proper and whether :data:`EXACT` was added to it, an i1."""
    code = builder.and_(activation, I64(EXACT - 1))
    return code, builder.icmp_signed("!=", code, activation)


def activate(emits, sums, bias, activation):
    """Adds a bias and applies the activation: 0 none, 1 ReLU, 2 ReLU6.

    ``emits``: what emits each column of ``sums``, one vector after the other in ``bias``. As in TNN, NaN becomes 0
    under an activation.
    """
    builder, slots, first = emits[0].builder, [[] for _ in sums], 0
    for j, emit in enumerate(emits):
        term = emit.load(emit.at(bias, first))
        first += emit.lanes
        for line, values in zip(slots, sums, strict=True):
            line.append(emit.variable(builder.fadd(values[j], term)))
    _activate_slots(emits, slots, activation)
    return [[builder.load(slot) for slot in line] for line in slots]


def _activate_slots(emits, slots, activation):
    """Applies an activation to values in slots, ``[row][column]``."""
    builder = emits[0].builder
    with builder.if_then(builder.icmp_signed("!=", activation, I64(0))):
        for slot, emit in ((line[j], emit) for line in slots for j, emit in enumerate(emits)):
            builder.store(emit.larger(builder.load(slot), emit.constant(0.0)), slot)
        with builder.if_then(builder.icmp_signed("==", activation, I64(2))):
            for slot, emit in ((line[j], emit) for line in slots for j, emit in enumerate(emits)):
                builder.store(emit.smaller(builder.load(slot), emit.constant(6.0)), slot)


def _add(emits, values, others, n, after):
    """Adds rows of n elements at the addresses ``others``, and applies the activation ``after``."""
    builder = emits[0].builder
    slots = [[emit.variable(value) for emit, value in zip(emits, line, strict=True)] for line in values]
    lanes = sum(emit.lanes for emit in emits)
    # Nothing is read beyond n: narrower rows through a copy.
    stage = builder.bitcast(cgutils.alloca_once(builder, ir.ArrayType(F32, lanes * len(values))), F32.as_pointer())
    is_whole = builder.icmp_signed(">=", n, I64(lanes))
    stages = [emits[0].at(stage, lanes * r) for r in range(len(values))]
    others = [emits[0].pointer(other, F32) for other in others]
    with builder.if_then(builder.not_(is_whole), likely=False):
        for to, source in zip(stages, others, strict=True):
            sweep(builder, n, (), F32, lambda one, at, to=to, source=source: one.store(
                one.load(one.at(source, at)), one.at(to, at)))  # fmt: skip
    for line, there, here in zip(slots, others, stages, strict=True):
        row, first = builder.select(is_whole, there, here), 0
        for emit, slot in zip(emits, line, strict=True):
            other = emit.load(emit.at(row, first))
            builder.store(builder.fadd(builder.load(slot), other), slot)
            first += emit.lanes
    _activate_slots(emits, slots, after)
    return [[builder.load(slot) for slot in line] for line in slots]


def emit_tile(builder, rows, vectors, args, exact=False, whole=False, parts=False):
    """The body of :func:`tile_f32`: LLVM IR only, so that it can be compiled for other machines than this one too."""
    columns = _columns(builder, vectors)
    emit = columns[0][0]
    row_table, *inner, bias, out, stride, m, n, activation = args[:12]
    is_exact = added = None
    streams = []
    if exact:
        activation, is_exact = split_activation(builder, activation)
        added, added_stride, after, ahead, ahead_step, near, near_step = args[12:19]
        # They go on from tile to tile.
        streams = [(emit.variable(ahead), ahead_step), (emit.variable(near), near_step)]

    kept, keep = args[19:] if parts else (None, None)
    row_bytes = int(4 * vectors * _PATH.lanes)

    def one_tile(table, targets, others, first):
        if parts:
            # Sums of the tile's own rows, if there are any.
            moved = builder.mul(first, I64(row_bytes))
            from_here, to_here = (
                builder.select(builder.icmp_signed("==", at, I64(0)), at, builder.add(at, moved)) for at in (kept, keep)
            )
            sums = _accumulate(columns, rows, [table, *inner], is_exact, streams, from_here)
            with builder.if_else(builder.icmp_signed("!=", keep, I64(0))) as (partial, complete):
                with partial:
                    # Those of rows that do not exist too: they are written in the end, over the row that they repeat.
                    for value, at in _in_rows(columns, sums, to_here):
                        emit.store(value, at)
                with complete:
                    finish(sums, targets, others)
            return
        finish(_accumulate(columns, rows, [table, *inner], is_exact, streams), targets, others)

    def finish(sums, targets, others):
        emits = [column for column, _, _ in columns]
        values = activate(emits, sums, emit.pointer(bias, F32), activation)
        if exact:
            slots = [[column.variable(value) for column, value in zip(emits, line, strict=True)] for line in values]
            with builder.if_then(builder.icmp_signed("!=", added, I64(0)), likely=False):
                for line, results in zip(slots, _add(emits, values, others, n, after), strict=True):
                    for slot, result in zip(line, results, strict=True):
                        builder.store(result, slot)
            values = [[builder.load(slot) for slot in line] for line in slots]
        emit.store_tile(values, [emit.pointer(target, F32) for target in targets], n)

    def addresses(start, step, places):
        return [builder.add(start, builder.mul(step, place)) for place in places]

    if whole:
        with emit.loop(m) as i:
            first = builder.mul(i, I64(rows))
            places = [builder.add(first, I64(r)) for r in range(rows)]
            others = addresses(added, added_stride, places) if exact else None
            one_tile(builder.add(row_table, builder.mul(first, I64(8))), addresses(out, stride, places), others, first)
        return
    last = builder.sub(m, I64(1))
    existing = [builder.select(builder.icmp_signed("<", last, I64(r)), last, I64(r)) for r in range(rows)]
    others = addresses(added, added_stride, existing) if exact else None
    one_tile(row_table, addresses(out, stride, existing), others, I64(0))


def tile_f32(rows: int, vectors: float, exact: bool = False, whole: bool = False, parts: bool = False) -> Intrinsic:
    """An intrinsic that computes tiles of ``rows`` x ``vectors`` vectors; ``exact``: it knows :data:`EXACT`, and takes
    the last seven arguments.

    ``tile(row_table, taps, tap_count, channels, weights, panel_stride, bias, out, out_stride, m, n, activation[, added,
    added_stride, after, ahead, ahead_step, near, near_step[, kept, keep]])``, all int64, addresses, strides in bytes:

    * row_table: int64 (rows,) addresses of the first channel of each row's first tap; unused rows repeat a valid one;
    * taps: int64 (tap_count,) byte offsets added to every row; each tap has ``channels`` float32 in sequence;
    * weights: float32 panels (tap_count * channels, PANEL); vectors 2, 3 lie in the next panel, ``panel_stride`` on;
    * bias: float32 (vectors * lanes,); out: float32 rows ``out_stride`` apart;
    * m, n: how many rows and channels of the tile exist; nothing is written outside them. With ``whole``, m is how
      many tiles there are, one below the other in the tables, of which all rows exist;
    * added, added_stride, after: float32 rows that are added to the results, if added is not 0, and the activation that
      follows;
    * ahead, ahead_step, near, near_step: two addresses, of each of which a line is fetched into a nearer cache per step
      of the reduction, and how many bytes they move on by: the next weights, and the next rows;
    * kept, keep (``parts``): float32 (rows, vectors * lanes) of sums to go on from, or 0, and where the sums are left,
      or 0 to finish them. So a sum can be taken in parts, each over all rows while its weights are near.
    """
    if parts:

        @intrinsic
        def tile_of_parts(
            typingctx, row_table, taps, tap_count, channels, weights, panel_stride, bias, out, out_stride, m, n,
            activation, added, added_stride, after, ahead, ahead_step, near, near_step, kept, keep,
        ):  # fmt: skip
            def codegen(context, builder, sig, args):
                emit_tile(builder, rows, vectors, args, exact, whole, parts)
                return context.get_dummy_value()

            return types.void(*[types.int64] * 21), codegen

        return tile_of_parts

    if exact:

        @intrinsic
        def tile_with_add(
            typingctx, row_table, taps, tap_count, channels, weights, panel_stride, bias, out, out_stride, m, n,
            activation, added, added_stride, after, ahead, ahead_step, near, near_step,
        ):  # fmt: skip
            def codegen(context, builder, sig, args):
                emit_tile(builder, rows, vectors, args, exact, whole)
                return context.get_dummy_value()

            return types.void(*[types.int64] * 19), codegen

        return tile_with_add

    @intrinsic
    def tile(
        typingctx, row_table, taps, tap_count, channels, weights, panel_stride, bias, out, out_stride, m, n, activation
    ):
        def codegen(context, builder, sig, args):
            emit_tile(builder, rows, vectors, args, exact, whole)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), codegen

    return tile
