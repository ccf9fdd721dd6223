"""The fp32 microkernel: a tile of output positions times vectors of output channels, over all taps of a kernel.

Rows are addresses: a tile does not care whether they point at pixels in place, at a padded copy or at the rows of a
matrix. Every output element has one accumulator that starts at 0 and runs over the taps in order and the channels of a
tap in order (TNN's own order, kh, kw, c), so its bits do not depend on the tile it falls into.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from tnnquant.kernels.simd import F32, I64, Emitter, row_pointers
from tnnquant.kernels.target import isa

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


def _accumulate(columns, rows, args, exact):
    """The reduction; returns the accumulators as registers, ``[row][column]``. ``exact``: an i1, or None for never."""
    emit = columns[0][0]
    builder = emit.builder
    row_table, taps, tap_count, channels, weights, panel_stride = args
    tap_table, row_table = emit.pointer(taps, I64), emit.pointer(row_table, I64)
    accumulators = [[column.variable(column.constant(0.0)) for column, _, _ in columns] for _ in range(rows)]
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
                for r in range(rows):
                    value = builder.load(emit.at(pixels[r], k))
                    for j, (column, _, _) in enumerate(columns):
                        slot = accumulators[r][j]
                        product = add_product(column, column.splat(value), weight[j], builder.load(slot))
                        builder.store(product, slot)

    reduce_either_way(builder, exact, reduce)
    return [[builder.load(slot) for slot in line] for line in accumulators]


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
    with builder.if_then(builder.icmp_signed("!=", activation, I64(0))):
        for slot, emit in ((line[j], emit) for line in slots for j, emit in enumerate(emits)):
            builder.store(emit.larger(builder.load(slot), emit.constant(0.0)), slot)
        with builder.if_then(builder.icmp_signed("==", activation, I64(2))):
            for slot, emit in ((line[j], emit) for line in slots for j, emit in enumerate(emits)):
                builder.store(emit.smaller(builder.load(slot), emit.constant(6.0)), slot)
    return [[builder.load(slot) for slot in line] for line in slots]


def emit_tile(builder, rows, vectors, args, exact=False, whole=False):
    """The body of :func:`tile_f32`: LLVM IR only, so that it can be compiled for other machines than this one too."""
    columns = _columns(builder, vectors)
    emit = columns[0][0]
    row_table, *inner, bias, out, stride, m, n, activation = args
    is_exact = None
    if exact:
        activation, is_exact = split_activation(builder, activation)

    def one_tile(table, targets):
        sums = _accumulate(columns, rows, [table, *inner], is_exact)
        emits = [column for column, _, _ in columns]
        values = activate(emits, sums, emit.pointer(bias, F32), activation)
        emit.store_tile(values, [emit.pointer(target, F32) for target in targets], n)

    if whole:
        with emit.loop(m) as i:
            first = builder.mul(i, I64(rows))
            target = builder.add(out, builder.mul(first, stride))
            targets = [builder.add(target, builder.mul(stride, I64(r))) for r in range(rows)]
            one_tile(builder.add(row_table, builder.mul(first, I64(8))), targets)
        return
    last = builder.sub(m, I64(1))
    existing = [builder.select(builder.icmp_signed("<", last, I64(r)), last, I64(r)) for r in range(rows)]
    one_tile(row_table, [builder.add(out, builder.mul(row, stride)) for row in existing])


def tile_f32(rows: int, vectors: float, exact: bool = False, whole: bool = False):
    """An intrinsic that computes tiles of ``rows`` x ``vectors`` vectors; ``exact``: it knows :data:`EXACT`.

    ``tile(row_table, taps, tap_count, channels, weights, panel_stride, bias, out, out_stride, m, n, activation)``, all
    int64, addresses and strides in bytes:

    * row_table: int64 (rows,) addresses of the first channel of each row's first tap; unused rows repeat a valid one;
    * taps: int64 (tap_count,) byte offsets added to every row; each tap has ``channels`` float32 in sequence;
    * weights: float32 panels (tap_count * channels, PANEL); vectors 2, 3 lie in the next panel, ``panel_stride`` on;
    * bias: float32 (vectors * lanes,); out: float32 rows ``out_stride`` apart;
    * m, n: how many rows and channels of the tile exist; nothing is written outside them. With ``whole``, m is how
      many tiles there are, one below the other in the tables, of which all rows exist.
    """

    @intrinsic
    def tile(
        typingctx, row_table, taps, tap_count, channels, weights, panel_stride, bias, out, out_stride, m, n, activation
    ):
        def codegen(context, builder, sig, args):
            emit_tile(builder, rows, vectors, args, exact, whole)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), codegen

    return tile
