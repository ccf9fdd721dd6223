"""The fp32 microkernel: a tile of output positions times vectors of output channels, over all taps of a kernel.

Rows are addresses: a tile does not care whether they point at pixels in place, at a padded copy or at the rows of a
matrix. Every output element has one accumulator that starts at 0 and runs over the taps in order and the channels of a
tap in order (TNN's own order, kh, kw, c), so its bits do not depend on the tile it falls into.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from tnnquant.kernels.simd import F32, I64, Emitter
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


def _accumulate(emit, rows, vectors, args, exact):
    """The reduction; returns the accumulators as registers, ``[row][vector]``. ``exact``: an i1, or None for never."""
    builder = emit.builder
    row_table, taps, tap_count, channels, weights, panel_stride = args
    tap_table = emit.pointer(taps, I64)
    row_table = emit.pointer(row_table, I64)
    starts = [builder.load(emit.at(row_table, r)) for r in range(rows)]
    accumulators = [[emit.variable(emit.constant(0.0)) for _ in range(vectors)] for _ in range(rows)]
    weight_at = emit.variable(weights)
    bytes_a_step = I64(4 * PANEL)

    def reduce(add_product):
        with emit.loop(tap_count) as t:
            offset = builder.load(emit.at(tap_table, t))
            pixels = [emit.pointer(builder.add(start, offset), F32) for start in starts]
            with emit.loop(channels) as k:
                here = builder.load(weight_at)
                columns = []
                for j in range(vectors):
                    panel = here if j < 2 else builder.add(here, builder.mul(panel_stride, I64(j // 2)))
                    columns.append(emit.load(emit.at(emit.pointer(panel, F32), (j % 2) * emit.lanes)))
                builder.store(builder.add(here, bytes_a_step), weight_at)
                for r in range(rows):
                    value = emit.splat(builder.load(emit.at(pixels[r], k)))
                    for j in range(vectors):
                        slot = accumulators[r][j]
                        builder.store(add_product(value, columns[j], builder.load(slot)), slot)

    reduce_either_way(emit, exact, reduce)
    return [[builder.load(slot) for slot in line] for line in accumulators]


def reduce_either_way(emit, exact, reduce):
    """Emits ``reduce(add_product)`` with fused multiply-adds and, if ``exact`` is an i1, also with two roundings."""
    if exact is None:
        reduce(emit.multiply_add)
        return
    with emit.builder.if_else(exact) as (two_roundings, fused):
        with two_roundings:
            reduce(lambda a, b, total: emit.builder.fadd(emit.builder.fmul(a, b), total))
        with fused:
            reduce(emit.multiply_add)


def split_activation(builder, activation):
    """The activation code proper and whether :data:`EXACT` was added to it, an i1."""
    code = builder.and_(activation, I64(EXACT - 1))
    return code, builder.icmp_signed("!=", code, activation)


def activate(emit, sums, bias, activation):
    """Adds a bias (one vector a column of ``sums``) and applies the activation: 0 none, 1 ReLU, 2 ReLU6.

    As in TNN, NaN becomes 0 under an activation.
    """
    builder = emit.builder
    biases = [emit.load(emit.at(bias, j * emit.lanes)) for j in range(len(sums[0]))]
    slots = [[emit.variable(builder.fadd(value, biases[j])) for j, value in enumerate(line)] for line in sums]
    with builder.if_then(builder.icmp_signed("!=", activation, I64(0))):
        is_relu6 = builder.icmp_signed("==", activation, I64(2))
        top = emit.splat(builder.select(is_relu6, F32(6.0), F32(float("inf"))))
        for slot in (slot for line in slots for slot in line):
            positive = emit.larger(builder.load(slot), emit.constant(0.0))
            builder.store(emit.smaller(positive, top), slot)
    return [[builder.load(slot) for slot in line] for line in slots]


def emit_tile(builder, rows, vectors, args, exact=False):
    """The body of :func:`tile_f32`: LLVM IR only, so that it can be compiled for other machines than this one too."""
    emit = Emitter(builder, _PATH.lanes)
    bias, out, stride, m, n, activation = args[6:]
    is_exact = None
    if exact:
        activation, is_exact = split_activation(builder, activation)
    sums = _accumulate(emit, rows, vectors, args[:6], is_exact)
    values = activate(emit, sums, emit.pointer(bias, F32), activation)
    last = builder.sub(m, I64(1))
    targets = []
    for r in range(rows):
        row = builder.select(builder.icmp_signed("<", last, I64(r)), last, I64(r))
        targets.append(emit.pointer(builder.add(out, builder.mul(row, stride)), F32))
    emit.store_tile(values, targets, n)


def tile_f32(rows: int, vectors: int, exact: bool = False):
    """An intrinsic that computes a tile of ``rows`` x ``vectors`` vectors; ``exact``: it knows :data:`EXACT`.

    ``tile(row_table, taps, tap_count, channels, weights, panel_stride, bias, out, out_stride, m, n, activation)``, all
    int64, addresses and strides in bytes:

    * row_table: int64 (rows,) addresses of the first channel of each row's first tap; unused rows repeat a valid one;
    * taps: int64 (tap_count,) byte offsets added to every row; each tap has ``channels`` float32 in sequence;
    * weights: float32 panels (tap_count * channels, PANEL); vectors 2, 3 lie in the next panel, ``panel_stride`` on;
    * bias: float32 (vectors * lanes,); out: float32 rows ``out_stride`` apart;
    * m, n: how many rows and channels of the tile exist; nothing is written outside them.
    """

    @intrinsic
    def tile(
        typingctx, row_table, taps, tap_count, channels, weights, panel_stride, bias, out, out_stride, m, n, activation
    ):
        def codegen(context, builder, sig, args):
            emit_tile(builder, rows, vectors, args, exact)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), codegen

    return tile
