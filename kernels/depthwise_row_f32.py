"""The inner loops of fp32 depthwise convolutions: one row of outputs of one panel (two vectors) of channels.

Blocks of 7 neighbouring outputs x 2 vectors stay in registers over all taps. Of what is loaded, :func:`row_of_taps`
needs 16 vectors for 14 multiply-adds; kernels of 3 and 5 columns load a value once for a whole kernel row
(:func:`row_in_place`): 24 for 42 and 32 for 70 with stride 1. Every sum takes its taps in TNN's order either way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import types
from numba.extending import intrinsic

from tnnquant.kernels.simd import F32, I64, Emitter
from tnnquant.kernels.tile_f32 import PANEL, activate, reduce_either_way, split_activation

if TYPE_CHECKING:
    from tnnquant.kernels.jit import Intrinsic

__all__ = ["PIXELS", "emit_blocks", "row_in_place", "row_of_taps"]

#: Outputs of a block.
PIXELS = 7


def emit_blocks(builder, pixels, width, x, pixel_step, out, out_step, body):
    """Emits a loop over blocks of ``pixels`` outputs of a row of ``width``; the last block overlaps the one before it
    (the same values, written twice). ``body(bases, targets)`` gets the addresses of the block's pixels in x and in out;
    in a row shorter than a block the last one is repeated.
    """
    size = I64(pixels)
    last = builder.sub(width, I64(1))
    which = [builder.select(builder.icmp_signed("<", last, I64(p)), last, I64(p)) for p in range(pixels)]
    steps = [(builder.mul(pixel_step, p), builder.mul(out_step, p)) for p in which]
    limit = builder.sub(width, size)
    limit = builder.select(builder.icmp_signed(">", limit, I64(0)), limit, I64(0))
    with Emitter(builder, 1).loop(builder.sdiv(builder.add(width, I64(pixels - 1)), size)) as block:
        column = builder.mul(block, size)
        column = builder.select(builder.icmp_signed("<", column, limit), column, limit)
        base = builder.add(x, builder.mul(column, pixel_step))
        target = builder.add(out, builder.mul(column, out_step))
        body([builder.add(base, step) for step, _ in steps], [builder.add(target, step) for _, step in steps])


def _row(emit, bases, targets, n, bias, activation, add_all):
    """A block of outputs: sums over all taps by ``add_all(sums, add_product)``, bias, activation, stored."""
    builder = emit.builder
    code, is_exact = split_activation(builder, activation)
    sums = [[emit.variable(emit.constant(0.0)) for _ in range(2)] for _ in bases]
    reduce_either_way(builder, is_exact, lambda add_product: add_all(sums, add_product))
    values = [[builder.load(slot) for slot in line] for line in sums]
    values = activate([emit, emit], values, emit.pointer(bias, F32), code)
    emit.store_tile(values, [emit.pointer(address, F32) for address in targets], n)


@intrinsic
def row_of_taps(typingctx, x, pixel_step, taps, tap_count, weights, bias, out, out_step, width, n, activation):
    """Any kernel; all int64, addresses and steps in bytes.

    Outputs lie ``pixel_step`` apart in x and ``out_step`` apart in out; taps is int64 (tap_count,), the offsets of the
    taps in x; weights is float32 (tap_count, PANEL); ``width`` outputs and ``n`` channels exist, and nothing is written
    outside them. One table of offsets keeps the loop free of address arithmetic.
    """

    def codegen(context, builder, sig, args):
        x, pixel_step, taps, tap_count, weights, bias, out, out_step, width, n, activation = args
        emit = Emitter(builder, PANEL // 2)
        lanes, table, weights = emit.lanes, emit.pointer(taps, I64), emit.pointer(weights, F32)

        def block(bases, targets):
            def add_taps(sums, add_product):
                with emit.loop(tap_count) as t:
                    offset = builder.load(emit.at(table, t))
                    w_at = emit.at(weights, builder.mul(t, I64(PANEL)))
                    columns = [emit.load(emit.at(w_at, v * lanes)) for v in range(2)]
                    for base, line in zip(bases, sums, strict=True):
                        pixel = emit.pointer(builder.add(base, offset))
                        for v, slot in enumerate(line):
                            value = emit.load(emit.at(pixel, 4 * v * lanes))
                            builder.store(add_product(emit, value, columns[v], builder.load(slot)), slot)

            _row(emit, bases, targets, n, bias, activation, add_taps)

        emit_blocks(builder, PIXELS, width, x, pixel_step, out, out_step, block)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 11), codegen


def row_in_place(kernel_w: int, stride: int) -> Intrinsic:
    """An intrinsic for kernels of ``kernel_w`` neighbouring columns, on an image as it is.

    ``row(x, row_step, rows, pixel_bytes, left, width, zeros, weights, bias, out, out_step, out_width, activation)``,
    all int64, addresses and steps in bytes: x is column 0 of the image in the first of ``rows`` kernel rows, which lie
    ``row_step`` apart and all inside the image; ``left`` the column of the first output's first tap, ``width`` the
    image's; zeros float32 (PANEL,) of them, read outside the image; weights float32 (rows, kernel_w, PANEL). All
    channels of the panel exist, and PIXELS outputs or more.
    """

    @intrinsic
    def row(typingctx, x, row_step, rows, pixel_bytes, left, width, zeros, weights, bias, out, out_step, out_width,
            activation):  # fmt: skip
        def codegen(context, builder, sig, args):
            (x, row_step, rows, pixel_bytes, left, width, zeros, weights, bias, out, out_step, out_width,
             activation) = args  # fmt: skip
            emit = Emitter(builder, PANEL // 2)
            weights = emit.pointer(weights, F32)
            span = (PIXELS - 1) * stride + kernel_w

            def block(bases, targets):
                # What emit_blocks counts here are columns of the image.
                columns = [builder.add(bases[0], I64(j)) for j in range(span)]
                inside = [builder.icmp_unsigned("<", column, width) for column in columns]
                offsets = [builder.mul(column, pixel_bytes) for column in columns]

                def add_rows(sums, add_product):
                    # One vector of channels at a time where both would not fit the registers.
                    for vectors in [(0, 1)] if emit.lanes == 16 else [(0,), (1,)]:
                        with emit.loop(rows) as r:
                            start = builder.add(x, builder.mul(r, row_step))
                            pixels = [
                                emit.pointer(builder.select(there, builder.add(start, offset), zeros))
                                for there, offset in zip(inside, offsets, strict=True)
                            ]
                            taps = emit.at(weights, builder.mul(r, I64(kernel_w * PANEL)))
                            _add_kernel_row(emit, kernel_w, stride, vectors, pixels, taps, sums, add_product)

                _row(emit, bases, targets, I64(PANEL), bias, activation, add_rows)

            emit_blocks(builder, PIXELS, out_width, left, I64(stride), out, out_step, block)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 13), codegen

    return row


def _add_kernel_row(emit, kernel_w, stride, vectors, pixels, taps, sums, add_product):
    """Adds the taps of one kernel row to the sums ``[output][vector]``: every pixel to all outputs that it is part of,
    from left to right.
    """
    builder, lanes = emit.builder, emit.lanes
    weights = [[emit.load(emit.at(taps, k * PANEL + v * lanes)) for v in vectors] for k in range(kernel_w)]
    for j, pixel in enumerate(pixels):
        users = [((j - k) // stride, k) for k in range(kernel_w) if j >= k and (j - k) % stride == 0]
        for i, v in enumerate(vectors):
            value = emit.load(emit.at(pixel, 4 * v * lanes))
            for output, k in users:
                if output < len(sums):
                    slot = sums[output][v]
                    builder.store(add_product(emit, value, weights[k][i], builder.load(slot)), slot)
