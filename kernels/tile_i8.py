"""The int8 microkernel: a tile of output positions times vectors of output channels, int32 sums, int8 results.

What the dot product of the path (:mod:`~tnnquant.kernels.dot_i8`) cannot take is folded into the starting value of the
sums (:mod:`~tnnquant.kernels.pack_i8`), so every path yields ``sum (x - zero_x) * (w - zero_w) + bias`` exactly. The
sums are rescaled while they are in registers where that is simple, else they are left to
:func:`~tnnquant.kernels.requantize_i8.requantize_rows`: the same int8 values on every path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import types
from numba.extending import intrinsic

from tnnquant.kernels.direct_i8 import emit_direct
from tnnquant.kernels.requantize_i8 import keep_sums
from tnnquant.kernels.results_i8 import start_of_sums
from tnnquant.kernels.simd import I32, I64, Emitter, row_pointers
from tnnquant.kernels.sums_i8 import sums_of
from tnnquant.kernels.target import isa

if TYPE_CHECKING:
    from tnnquant.kernels.jit import Intrinsic

__all__ = ["emit_tile", "tile_i8"]

_PATH = isa()


def _accumulate(emit, rows, vectors, dot, args):
    """The reduction; returns the sums as registers, ``[row][vector]``."""
    builder = emit.builder
    row_table, taps, tap_count, steps, weights, panel_stride, params, params_stride = args
    tap_table = emit.pointer(taps, I64)
    initial = start_of_sums(emit, params, params_stride, vectors)
    sums = sums_of(emit, initial, rows, dot, weights, panel_stride)
    with emit.loop(tap_count) as t:
        offset = builder.load(emit.at(tap_table, t))
        pixels = row_pointers(emit, row_table, rows, offset, I32)
        done = I64(0)
        if sums.TOGETHER > 1:
            runs = builder.sdiv(steps, I64(sums.TOGETHER))
            with emit.loop(runs) as k:
                sums.run(pixels, builder.mul(k, I64(sums.TOGETHER)))
            done = builder.mul(runs, I64(sums.TOGETHER))
            steps = builder.sub(steps, done)
        with emit.loop(steps) as k:
            sums.step(pixels, builder.add(done, k) if sums.TOGETHER > 1 else k)
    return sums.end()


def emit_tile(builder, rows, vectors, dot, args):
    """The body of :func:`tile_i8`: LLVM IR only, so that it can be compiled for other machines than this one too."""
    emit = Emitter(builder, _PATH.lanes, I32)
    row_table, *inner, out, out_stride, repeat, n, activation, is_simple, buffer, fusion, added, added_stride = args
    params, params_stride = inner[-2:]
    with emit.loop(repeat) as i:
        first = builder.mul(i, I64(rows))
        table = emit.at(emit.pointer(row_table, I64), first)
        sums = _accumulate(emit, rows, vectors, dot, [table, *inner])
        target = builder.add(out, builder.mul(first, out_stride))
        with builder.if_else(builder.icmp_signed("!=", is_simple, I64(0))) as (simple, general):
            with simple:
                panels = (vectors + 1) // 2
                tables = [builder.add(params, builder.mul(params_stride, I64(panel))) for panel in range(panels)]
                others = builder.add(added, builder.mul(first, added_stride))
                targets, others = (
                    [builder.add(start, builder.mul(stride, I64(r))) for r in range(rows)]
                    for start, stride in ((target, out_stride), (others, added_stride))
                )
                emit_direct(emit, sums, tables, targets, n, activation, fusion, others)
            with general:
                keep_sums(emit, sums, buffer)


def tile_i8(rows: int, vectors: int, dot: str = _PATH.dot) -> Intrinsic:
    """An intrinsic that computes tiles of ``rows`` x 1 or 2 vectors, or of one row x several panels of 2 vectors.

    ``tile(row_table, taps, tap_count, steps, weights, panel_stride, params, params_stride, out, out_stride, repeat, n,
    activation, is_simple, buffer, fusion, added, added_stride)``, all int64, addresses and strides in bytes:

    * row_table: int64 (repeat * rows,) addresses of each row's first tap;
    * taps: int64 (tap_count,) byte offsets added to every row; each tap has ``steps`` groups of bytes in sequence;
    * weights: (tap_count * steps, PANEL), a group each, 4 bytes (8 on a path with ``matrix``); further panels lie
      ``panel_stride`` on;
    * params: (PARAMETERS, PANEL) words of the panel; those of further panels lie ``params_stride`` on;
    * out: int8 rows ``out_stride`` apart;
    * repeat, n: how many tiles, one below the other, and how many channels exist; no others are written;
    * is_simple: whether the results are simple (:mod:`~tnnquant.kernels.direct_i8`). If not, nothing is written to
      out; the sums go to ``buffer``, int32 (rows, whole panels), and ``repeat`` must be 1.
    * added: int8 rows ``added_stride`` apart, which are added to simple results if fusion is not 0.
    """

    @intrinsic
    def tile(typingctx, row_table, taps, tap_count, steps, weights, panel_stride, params, params_stride, out,
             out_stride, repeat, n, activation, is_simple, buffer, fusion, added, added_stride):  # fmt: skip
        def codegen(context, builder, sig, args):
            emit_tile(builder, rows, vectors, dot, args)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 18), codegen

    return tile
