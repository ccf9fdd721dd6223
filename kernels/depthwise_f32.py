"""fp32 depthwise convolution of channels-last images, vectorized over channels.

Versions, slowest first:

* :func:`~tnnquant.kernels.conv_f32.conv2d_f32_naive` with as many groups as channels: the reference.
* :func:`depthwise_f32`: blocks of 7 neighbouring outputs x 2 vectors of channels, so that a vector of weights serves
  seven multiply-adds. The input rows that an output row needs stand in a ring in the nearest caches, each copied once,
  with a border of zeros: no tap ever leaves it. Limit: the loads, 16 for 14 multiply-adds. Kernels of 3 and 5 columns
  without stride load a value once for a whole kernel row: 24 for 42, 32 for 70.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.conv_rows import cut_by_rows
from tnnquant.kernels.geometry import ConvGeometry, pixel_stride
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.pack_f32 import PackedDepthwise
from tnnquant.kernels.simd import (
    F32,
    I64,
    Emitter,
    copy_bytes,
    copy_pixels,
    f32_view,
    fill_zero,
    load_words,
    store_word,
)
from tnnquant.kernels.tile_f32 import PANEL, activate, reduce_either_way, split_activation

__all__ = ["depthwise_f32", "depthwise_f32_op", "emit_blocks"]

_PIXELS = 7
_RING_BYTES = 64 * 1024


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


def _add_taps(emit, bases, sums, table, tap_count, weights, add_product):
    """Adds all taps to the sums ``[pixel][vector]``, one tap after the other."""
    builder, lanes = emit.builder, emit.lanes
    with emit.loop(tap_count) as t:
        offset = builder.load(emit.at(table, t))
        w_at = emit.at(weights, builder.mul(t, I64(PANEL)))
        columns = [emit.load(emit.at(w_at, v * lanes)) for v in range(2)]
        for base, line in zip(bases, sums, strict=True):
            pixel = emit.at(base, offset)
            for v, slot in enumerate(line):
                value = emit.load(emit.at(pixel, 4 * v * lanes))
                builder.store(add_product(emit, value, columns[v], builder.load(slot)), slot)


def _add_kernel_rows(emit, kernel_w, base, pixel_step, sums, table, tap_count, weights, add_product):
    """The same for neighbouring pixels and taps, a kernel row at a time: a value that is loaded once meets all weights
    of the row. Every sum still takes its taps from left to right.
    """
    builder, lanes = emit.builder, emit.lanes
    together = [(0, 1)] if lanes == 16 else [(0,), (1,)]  # what the registers hold
    for vectors in together:
        with emit.loop(builder.sdiv(tap_count, I64(kernel_w))) as row:
            first = builder.mul(row, I64(kernel_w))
            start = builder.add(base, builder.load(emit.at(table, first)))
            w_at = emit.at(weights, builder.mul(first, I64(PANEL)))
            taps = [[emit.load(emit.at(w_at, k * PANEL + v * lanes)) for v in vectors] for k in range(kernel_w)]
            for column in range(len(sums) + kernel_w - 1):
                pixel = emit.pointer(builder.add(start, builder.mul(pixel_step, I64(column))))
                for j, v in enumerate(vectors):
                    value = emit.load(emit.at(pixel, 4 * v * lanes))
                    for k in range(kernel_w):
                        if 0 <= column - k < len(sums):
                            slot = sums[column - k][v]
                            builder.store(add_product(emit, value, taps[k][j], builder.load(slot)), slot)


def _row(kernel_w: int):
    """An intrinsic for one row of outputs of one panel (two vectors) of channels.

    ``row(x, pixel_step, taps, tap_count, weights, bias, out, out_step, width, n, activation)``, all int64, addresses
    and steps in bytes. Outputs lie ``pixel_step`` apart in x and ``out_step`` apart in out; taps is int64 (tap_count,),
    the offsets of the taps in x; weights is float32 (tap_count, PANEL); ``width`` outputs and ``n`` channels exist, and
    nothing is written outside them. One table of offsets keeps the loop free of address arithmetic.

    With a ``kernel_w`` that is not 0 the taps are rows of so many pixels ``pixel_step`` apart, and width is _PIXELS or
    more.
    """

    @intrinsic
    def row(typingctx, x, pixel_step, taps, tap_count, weights, bias, out, out_step, width, n, activation):
        def codegen(context, builder, sig, args):
            x, pixel_step, taps, tap_count, weights, bias, out, out_step, width, n, activation = args
            emit = Emitter(builder, PANEL // 2)
            table, weights = emit.pointer(taps, I64), emit.pointer(weights, F32)
            code, is_exact = split_activation(builder, activation)

            def block(bases, targets):
                pixels = [emit.pointer(address) for address in bases]
                sums = [[emit.variable(emit.constant(0.0)) for _ in range(2)] for _ in bases]

                def reduce(add_product):
                    if kernel_w:
                        _add_kernel_rows(
                            emit, kernel_w, bases[0], pixel_step, sums, table, tap_count, weights, add_product
                        )
                    else:
                        _add_taps(emit, pixels, sums, table, tap_count, weights, add_product)

                reduce_either_way(builder, is_exact, reduce)
                values = [[builder.load(slot) for slot in line] for line in sums]
                values = activate([emit, emit], values, emit.pointer(bias, F32), code)
                emit.store_tile(values, [emit.pointer(address, F32) for address in targets], n)

            emit_blocks(builder, _PIXELS, width, x, pixel_step, out, out_step, block)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11), codegen

    return row


_row_any, _row_3, _row_5 = _row(0), _row(3), _row(5)


@inline
def _copy_row(x, pixel_bytes, height, width, y, left, columns, cell, first, count, multiplier, to):
    # One row of the ring: float32 (columns, cell / 4), the channels first..first+count-1 of image row y from column
    # left on; 0 outside the image. With a multiplier, channel o is the input's o // multiplier.
    begin = min(max(-left, 0), columns)
    end = max(min(width - left, columns), begin)
    if y < 0 or y >= height:
        end = begin
    fill_zero(to, begin * cell)
    fill_zero(to + end * cell, (columns - end) * cell)
    source = x + (y * width + left) * pixel_bytes
    if multiplier == 1:
        source += begin * pixel_bytes + 4 * first
        if cell == pixel_bytes:
            copy_bytes(to + begin * cell, source, (end - begin) * cell)
        else:
            copy_pixels(to + begin * cell, cell, source, pixel_bytes, end - begin, 4 * count)
        return
    base = first // multiplier
    for i in range(begin, end):
        pixel = f32_view(source + i * pixel_bytes, (first + count - 1) // multiplier + 1)
        spread = f32_view(to + i * cell, count)
        for c in range(count):
            spread[c] = pixel[(first + c) // multiplier] if base >= 0 else np.float32(0)


@kernel
def _depthwise_task(op, index, scratch):
    # op words from ARGS on: see depthwise_f32_op
    (x, height, width, pixel_bytes, multiplier, out, out_height, out_width, out_stride, channels, weights, bias,
     activation, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, band_rows, bands,
     blocks, block) = load_words(op + 8 * program.ARGS, 25)  # fmt: skip

    first = index % blocks * block
    count = min(block, channels - first)
    y0 = index // blocks % bands * band_rows
    y1 = min(y0 + band_rows, out_height)
    image = index // blocks // bands
    source = x + image * height * width * pixel_bytes
    tap_count = kernel_h * kernel_w
    ring = scratch + (8 * tap_count + 63) // 64 * 64
    cell = 4 * block
    columns = (out_width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    ring_rows = (kernel_h - 1) * dilation_h + 1
    row_bytes = columns * cell
    next_row = y0 * stride_h - pad_top
    reuse = stride_w == 1 and dilation_w == 1 and out_width >= _PIXELS
    for y in range(y0, y1):
        top = y * stride_h - pad_top
        next_row = max(next_row, top)
        while next_row < top + ring_rows:
            _copy_row(source, pixel_bytes, height, width, next_row, -pad_left, columns, cell, first, count, multiplier,
                      ring + (next_row + pad_top) % ring_rows * row_bytes)  # fmt: skip
            next_row += 1
        at = scratch
        for kh in range(kernel_h):
            row = (top + kh * dilation_h + pad_top) % ring_rows * row_bytes
            for kw in range(kernel_w):
                store_word(at, row + kw * dilation_w * cell)
                at += 8
        to = out + (image * out_height + y) * out_width * out_stride
        for c in range(0, count, PANEL):
            n, panel = min(count - c, np.int64(PANEL)), weights + (first + c) * tap_count * 4
            at, pixel_step, target = ring + 4 * c, stride_w * cell, to + 4 * (first + c)
            panel_bias = bias + 4 * (first + c)
            if reuse and kernel_w == 3:
                _row_3(at, pixel_step, scratch, tap_count, panel, panel_bias, target, out_stride, out_width, n,
                       activation)  # fmt: skip
            elif reuse and kernel_w == 5:
                _row_5(at, pixel_step, scratch, tap_count, panel, panel_bias, target, out_stride, out_width, n,
                       activation)  # fmt: skip
            else:
                _row_any(at, pixel_step, scratch, tap_count, panel, panel_bias, target, out_stride, out_width, n,
                         activation)  # fmt: skip


def depthwise_f32_op(
    x: np.ndarray, packed: PackedDepthwise, geometry: ConvGeometry, activation: int, out: np.ndarray
) -> np.ndarray:
    """The op of a depthwise convolution; see :func:`depthwise_f32`. The arrays must stay alive."""
    images, height, width, channels = x.shape
    _, out_height, out_width, out_channels = out.shape
    columns = (out_width - 1) * geometry.stride_w + (geometry.kernel_w - 1) * geometry.dilation_w + 1
    ring_rows = (geometry.kernel_h - 1) * geometry.dilation_h + 1
    panels = -(-out_channels // PANEL)
    # As many panels at a time as leave the ring in the nearest caches.
    together = max(1, min(panels, _RING_BYTES // (columns * ring_rows * PANEL * 4)))
    block, blocks, band_rows, bands = cut_by_rows(images * out_height, panels, together)
    block *= PANEL
    scratch = 8 * geometry.kernel_h * geometry.kernel_w + 64 + columns * ring_rows * block * 4
    address = program.data_address
    args = [
        address(x), height, width, pixel_stride(x) * 4, out_channels // channels,
        address(out), out_height, out_width, pixel_stride(out) * 4, out_channels,
        address(packed.weights), address(packed.bias), activation,
        *geometry[:8],
        band_rows, bands, blocks, block,
    ]  # fmt: skip
    return program.new_op(_depthwise_task, images * bands * blocks, scratch, args)


def depthwise_f32(
    x: np.ndarray, packed: PackedDepthwise, geometry: ConvGeometry, activation: int, out: np.ndarray
) -> np.ndarray:
    """Depthwise convolution with bias and activation; output channel o reads input channel ``o // (OC/C)``.

    Parameters
    ----------
    x : float32 (N, H, W, C)
        C-contiguous, or a slice of channels of such an array.
    packed : PackedDepthwise
        :func:`~tnnquant.kernels.pack_f32.pack_depthwise_f32` of weights (OC, 1, KH, KW).
    geometry : ConvGeometry
        ``groups`` is not read.
    activation : int
        0 none, 1 ReLU, 2 ReLU6.
    out : float32 (N, OH, OW, OC)
        Written and returned; C-contiguous or a slice of channels. Must not overlap x.
    """
    program.run(depthwise_f32_op(x, packed, geometry, activation, out))
    return out
