"""int8 depthwise convolution of channels-last images, bit-exact to TNN's naive device (docs/tnn-format.md, 6.3).

Versions, slowest first:

* :func:`~tnnquant.kernels.conv_i8.conv2d_i8_naive` with as many groups as channels: the reference.
* :func:`depthwise_i8`: GROUP kernel rows at a time. A ring in the nearest caches holds GROUP image rows interleaved, 4
  bytes per channel, so that one dot product sums GROUP taps of a channel: a 3x3 kernel takes 6 instructions per vector
  with int16 (3 with bytes) where fp32 takes 9. Blocks of 7 neighbouring outputs x 2 vectors share the weights. As many
  rows of outputs as find all their taps in the same groups are computed before the next is made: with stride 1 they are
  2 for a 3x3 kernel, and 4 for 5x5 with bytes.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.conv_rows import cut_by_rows
from tnnquant.kernels.convert_i8 import interleave_pixels
from tnnquant.kernels.depthwise_row_f32 import emit_blocks
from tnnquant.kernels.direct_i8 import emit_direct
from tnnquant.kernels.dot_i8 import GROUP, PANEL, emit_dot
from tnnquant.kernels.geometry import ConvGeometry, pixel_stride
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.pack_i8 import PackedDepthwiseI8
from tnnquant.kernels.requantize_i8 import keep_sums, requantize
from tnnquant.kernels.results_i8 import PARAMETERS, start_of_sums
from tnnquant.kernels.simd import I32, I64, Emitter, i8_view, load_word, load_words, store_word

__all__ = ["depthwise_i8", "depthwise_i8_op"]

_PIXELS = 7
_RING_BYTES = 64 * 1024
_EMPTY = -(1 << 62)  # no row of any image


def _sums(emit, bases, start, table, tap_count, weights):
    """The sums over all taps, ``[pixel][vector]``, of the pixels at ``bases``."""
    if emit.lanes == 16:
        return _sum_vectors(emit, (0, 1), bases, start, table, tap_count, weights)
    # One vector of channels at a time: with both, sums and products would not fit 16 registers.
    columns = [_sum_vectors(emit, (v,), bases, start, table, tap_count, weights) for v in (0, 1)]
    return [[a, b] for (a,), (b,) in zip(*columns, strict=True)]


def _sum_vectors(emit, which, bases, start, table, tap_count, weights):
    builder, lanes = emit.builder, emit.lanes
    slots = [[emit.variable(start[v]) for v in which] for _ in bases]
    with emit.loop(tap_count) as t:
        offset = builder.load(emit.at(table, t))
        row = emit.at(weights, builder.mul(t, I64(PANEL)))
        weight = [emit.load(emit.at(row, v * lanes)) for v in which]
        for base, line in zip(bases, slots, strict=True):
            pixel = emit.at(base, offset)
            for j, v in enumerate(which):
                value = emit.load(emit.at(pixel, 4 * v * lanes))
                builder.store(emit_dot(emit, builder.load(line[j]), value, weight[j]), line[j])
    return [[builder.load(slot) for slot in line] for line in slots]


@intrinsic
def _depthwise_row(typingctx, x, pixel_step, taps, tap_count, weights, params, out, out_step, width, n, activation,
                   simple):  # fmt: skip
    """One row of outputs of one panel (two vectors) of channels; all int64, addresses and steps in bytes.

    As in :mod:`~tnnquant.kernels.depthwise_f32`, but a tap is a group of GROUP kernel rows: 4 bytes per channel; params
    and simple as for :func:`~tnnquant.kernels.tile_i8.tile_i8`.
    """

    def codegen(context, builder, sig, args):
        x, pixel_step, taps, tap_count, weights, params, out, out_step, width, n, activation, simple = args
        emit = Emitter(builder, PANEL // 2, I32)
        none = I64(0)
        table, weights = emit.pointer(taps, I64), emit.pointer(weights, I32)
        start = start_of_sums(emit, params, none, 2)
        buffer = builder.ptrtoint(cgutils.alloca_once(builder, ir.ArrayType(emit.vector, 2 * _PIXELS)), I64)
        present = builder.select(builder.icmp_signed("<", width, I64(_PIXELS)), width, I64(_PIXELS))

        def block(bases, targets):
            totals = _sums(emit, [emit.pointer(at) for at in bases], start, table, tap_count, weights)
            with builder.if_else(builder.icmp_signed("!=", simple, none)) as (is_simple, general):
                with is_simple:
                    emit_direct(emit, totals, [params], targets, n, activation)
                with general:
                    keep_sums(emit, totals, buffer)
                    requantize(emit, buffer, (present, out_step, none, none, none), params, targets[0], n, activation)

        emit_blocks(builder, _PIXELS, width, x, pixel_step, out, out_step, block)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 12), codegen


@inline
def _spread(source, pixel_bytes, pixels, first, count, multiplier, to):
    # One image row with every channel repeated: int8 (pixels, count), channel first + c of the output's.
    for i in range(pixels):
        pixel = i8_view(source + i * pixel_bytes, (first + count - 1) // multiplier + 1)
        wide = i8_view(to + i * count, count)
        for c in range(count):
            wide[c] = pixel[(first + c) // multiplier]


@kernel
def _fill_ring_row(x, pixel_bytes, height, width, y, dilation, left, columns, cell, first, count, multiplier, zero,
                   subtract, to, spread, sources):  # fmt: skip
    # to: (columns, cell bytes): image rows y, y + dilation, ... (GROUP of them) interleaved, from column left on; the
    # zero point outside the image. spread: memory for GROUP rows of repeated channels; sources: int64 (GROUP, 2),
    # addresses and pixel steps, 0 where the same pixel serves all.
    begin = min(max(-left, 0), columns)
    end = max(min(width - left, columns), begin)
    inside = 0
    for g in range(GROUP):
        row = y + g * dilation
        at, step = zero, np.int64(0)
        if 0 <= row < height and begin < end:
            inside += 1
            at, step = x + (row * width + left + begin) * pixel_bytes + first, pixel_bytes
            if multiplier > 1:
                at, step = spread + g * (end - begin) * count, count
                _spread(x + (row * width + left + begin) * pixel_bytes, pixel_bytes, end - begin, first, count,
                        multiplier, at)  # fmt: skip
        store_word(sources + 16 * g, at)
        store_word(sources + 16 * g + 8, step)
    if inside > 0:
        pixels, length = end - begin, count
        if inside == GROUP and cell == 4 * count and pixel_bytes == count and not subtract:
            # Neighbouring pixels are one long run: no zero point tells channels apart.
            pixels, length = np.int64(1), pixels * count
        interleave_pixels(to + begin * cell, cell, sources, pixels, length, zero, subtract)
    else:
        begin, end = columns, columns
    for g in range(GROUP):
        store_word(sources + 16 * g, zero)
        store_word(sources + 16 * g + 8, np.int64(0))
    interleave_pixels(to, cell, sources, begin, count, zero, subtract)
    interleave_pixels(to + end * cell, cell, sources, columns - end, count, zero, subtract)


@kernel
def _depthwise_task(op, index, scratch):
    # op words from ARGS on: see depthwise_i8_op
    (x, height, width, pixel_bytes, multiplier, out, out_height, out_width, out_stride, channels, weights, params,
     activation, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, band_rows, bands,
     blocks, block, zero, repeat, subtract, simple, phases) = load_words(op + 8 * program.ARGS, 30)  # fmt: skip

    first = index % blocks * block
    count = min(block, channels - first)
    y0 = index // blocks % bands * band_rows
    y1 = min(y0 + band_rows, out_height)
    image = index // blocks // bands
    source = x + image * height * width * pixel_bytes
    row_groups = (kernel_h + GROUP - 1) // GROUP
    group_step = GROUP * dilation_h
    ring_rows = (row_groups - 1) * group_step + 1
    cell = 4 * block
    columns = (out_width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    row_bytes = columns * cell
    # Scratch: taps, which image row each ring row begins with, row pointers, the ring, repeated channels.
    tap_count = row_groups * kernel_w
    held = scratch + 8 * tap_count * repeat
    sources = held + 8 * ring_rows
    ring = scratch + (8 * (tap_count * repeat + ring_rows + 2 * GROUP) + 63) // 64 * 64
    spread = ring + ring_rows * row_bytes
    for slot in range(ring_rows):
        store_word(held + 8 * slot, np.int64(_EMPTY))
    params_bytes = PARAMETERS * PANEL * 4
    phase_bytes = (channels + PANEL - 1) // PANEL * tap_count * repeat * (4 * PANEL)
    for y in range(y0, y1):
        phase = (y - y0) % phases
        for group in range(row_groups):
            row = (y - phase) * stride_h - pad_top + group * group_step
            slot = (row + pad_top) % ring_rows
            if load_word(held + 8 * slot) != row:
                store_word(held + 8 * slot, row)
                _fill_ring_row(source, pixel_bytes, height, width, row, dilation_h, -pad_left, columns, cell, first,
                               count, multiplier, zero + first, subtract, ring + slot * row_bytes, spread,
                               sources)  # fmt: skip
            for kw in range(kernel_w):
                for part in range(repeat):
                    at = scratch + 8 * (part * tap_count + group * kernel_w + kw)
                    store_word(at, slot * row_bytes + kw * dilation_w * cell)
        to = out + (image * out_height + y) * out_width * out_stride
        for c in range(0, count, PANEL):
            n, taps = min(count - c, np.int64(PANEL)), tap_count * repeat
            panel = weights + phase * phase_bytes + (first + c) * taps * 4
            table = params + (first + c) // PANEL * params_bytes
            _depthwise_row(ring + 4 * c, stride_w * cell, scratch, taps, panel, table, to + first + c, out_stride,
                           out_width, n, activation, simple)  # fmt: skip


def depthwise_i8_op(
    x: np.ndarray, packed: PackedDepthwiseI8, geometry: ConvGeometry, activation: int, out: np.ndarray
) -> np.ndarray:
    """The op of a quantized depthwise convolution; see :func:`depthwise_i8`. The arrays must stay alive."""
    images, height, width, channels = x.shape
    _, out_height, out_width, out_channels = out.shape
    columns = (out_width - 1) * geometry.stride_w + (geometry.kernel_w - 1) * geometry.dilation_w + 1
    row_groups = -(-geometry.kernel_h // GROUP)
    ring_rows = (row_groups - 1) * GROUP * geometry.dilation_h + 1
    panels = -(-out_channels // PANEL)
    # As many panels at a time as leave the ring in the nearest caches.
    together = max(1, min(panels, _RING_BYTES // (columns * ring_rows * PANEL * 4)))
    block, blocks, band_rows, bands = cut_by_rows(images, out_height, panels, together)
    block *= PANEL
    scratch = 8 * (row_groups * geometry.kernel_w * packed.repeat + ring_rows + 2 * GROUP) + 64
    scratch += ring_rows * columns * block * 4
    if out_channels != channels:
        scratch += GROUP * width * block
    address = program.data_address
    args = [
        address(x), height, width, pixel_stride(x), out_channels // channels,
        address(out), out_height, out_width, pixel_stride(out), out_channels,
        address(packed.weights), address(packed.params), activation,
        *geometry[:8],
        band_rows, bands, blocks, block, address(packed.input_zero), packed.repeat, packed.has_zero,
        packed.simple.with_activation(activation), len(packed.weights),
    ]  # fmt: skip
    return program.new_op(_depthwise_task, images * bands * blocks, scratch, args)


def depthwise_i8(
    x: np.ndarray, packed: PackedDepthwiseI8, geometry: ConvGeometry, activation: int, out: np.ndarray
) -> np.ndarray:
    """Quantized depthwise convolution; output channel o reads input channel ``o // (OC/C)``.

    Parameters
    ----------
    x : int8 (N, H, W, C)
        C-contiguous, or a slice of channels of such an array.
    packed : PackedDepthwiseI8
        :func:`~tnnquant.kernels.pack_i8.pack_depthwise_i8` with the same geometry.
    geometry : ConvGeometry
        ``groups`` is not read.
    activation : int
        0 none, 1 ReLU, 2 ReLU6 (which drops the output's zero point, as TNN does).
    out : int8 (N, OH, OW, OC)
        Written and returned; C-contiguous or a slice of channels. Must not overlap x.
    """
    program.run(depthwise_i8_op(x, packed, geometry, activation, out))
    return out
