"""fp32 depthwise convolution of channels-last images, vectorized over channels.

Versions, slowest first:

* :func:`~tnnquant.kernels.conv_f32.conv2d_f32_naive` with as many groups as channels: the reference.
* :func:`depthwise_f32`: a row of outputs of one panel of channels at a time
  (:mod:`~tnnquant.kernels.depthwise_row_f32`). Kernels of 3 and 5 columns with a stride of 1 or 2 read the image in
  place. For any other, and for a last panel that is not full, the input rows that an output row needs stand in a ring
  in the nearest caches, each copied once, with a border of zeros: no tap ever leaves it.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.conv_rows import cut_by_rows
from tnnquant.kernels.depthwise_row_f32 import PIXELS, row_in_place, row_of_taps
from tnnquant.kernels.geometry import ConvGeometry, pixel_stride
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.pack_f32 import PackedDepthwise
from tnnquant.kernels.simd import copy_bytes, copy_pixels, f32_view, fill_zero, load_words, store_word
from tnnquant.kernels.tile_f32 import PANEL

__all__ = ["depthwise_f32", "depthwise_f32_op"]

_RING_BYTES = 64 * 1024
# Bytes of image that 5 columns may read in place for a row: each is loaded five times, mostly from the nearest cache.
_NEAR_BYTES = 32 * 1024
_IN_PLACE = ((3, 1), (3, 2), (5, 1), (5, 2))  # kernel and stride along a row
_row_31, _row_32, _row_51, _row_52 = (row_in_place(*kind) for kind in _IN_PLACE)


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
        if cell == pixel_bytes == 4 * count:
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
def _whole_panels(kernel_w, stride, x, row_step, rows, pixel_bytes, left, width, zeros, weights, panel_bytes, bias, out,
                  out_step, out_width, activation, panels):  # fmt: skip
    # One row of outputs of several panels; the rest is that of row_in_place
    for p in range(panels):
        at, w, b, to = x + p * (4 * PANEL), weights + p * panel_bytes, bias + p * (4 * PANEL), out + p * (4 * PANEL)
        if kernel_w == 3 and stride == 1:
            _row_31(at, row_step, rows, pixel_bytes, left, width, zeros, w, b, to, out_step, out_width, activation)
        elif kernel_w == 3:
            _row_32(at, row_step, rows, pixel_bytes, left, width, zeros, w, b, to, out_step, out_width, activation)
        elif stride == 1:
            _row_51(at, row_step, rows, pixel_bytes, left, width, zeros, w, b, to, out_step, out_width, activation)
        else:
            _row_52(at, row_step, rows, pixel_bytes, left, width, zeros, w, b, to, out_step, out_width, activation)


@kernel
def _depthwise_task(op, index, scratch):
    # op words from ARGS on: see depthwise_f32_op
    (x, height, width, pixel_bytes, multiplier, out, out_height, out_width, out_stride, channels, weights, bias,
     activation, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, band_rows, bands,
     blocks, block, in_place, cell) = load_words(op + 8 * program.ARGS, 27)  # fmt: skip

    first = index % blocks * block
    count = min(block, channels - first)
    y0 = index // blocks % bands * band_rows
    y1 = min(y0 + band_rows, out_height)
    image = index // blocks // bands
    source = x + image * height * width * pixel_bytes
    tap_count = kernel_h * kernel_w
    # Whole panels are read where they lie, if they can be; the rest goes through the ring.
    whole = count // PANEL * PANEL if in_place else np.int64(0)
    zeros = scratch + (8 * tap_count + 63) // 64 * 64
    ring = zeros + 4 * PANEL
    fill_zero(zeros, np.int64(4 * PANEL))
    columns = (out_width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    ring_rows = (kernel_h - 1) * dilation_h + 1
    row_bytes = columns * cell
    row_step = dilation_h * width * pixel_bytes
    next_row = y0 * stride_h - pad_top
    for y in range(y0, y1):
        top = y * stride_h - pad_top
        to = out + (image * out_height + y) * out_width * out_stride + 4 * first
        if whole > 0:
            # The kernel rows inside the image.
            begin = (dilation_h - 1 - top) // dilation_h if top < 0 else np.int64(0)
            end = min((height - top + dilation_h - 1) // dilation_h, kernel_h)
            _whole_panels(kernel_w, stride_w, source + (top + begin * dilation_h) * width * pixel_bytes + 4 * first,
                          row_step, end - begin, pixel_bytes, -pad_left, width, zeros,
                          weights + (first * tap_count + begin * kernel_w * PANEL) * 4, tap_count * (4 * PANEL),
                          bias + 4 * first, to, out_stride, out_width, activation, whole // PANEL)  # fmt: skip
        if whole == count:
            continue
        next_row = max(next_row, top)
        while next_row < top + ring_rows:
            _copy_row(source, pixel_bytes, height, width, next_row, -pad_left, columns, cell, first + whole,
                      count - whole, multiplier, ring + (next_row + pad_top) % ring_rows * row_bytes)  # fmt: skip
            next_row += 1
        at = scratch
        for kh in range(kernel_h):
            row = (top + kh * dilation_h + pad_top) % ring_rows * row_bytes
            for kw in range(kernel_w):
                store_word(at, row + kw * dilation_w * cell)
                at += 8
        for c in range(whole, count, PANEL):
            row_of_taps(ring + 4 * (c - whole), stride_w * cell, scratch, tap_count,
                        weights + (first + c) * tap_count * 4, bias + 4 * (first + c), to + 4 * c, out_stride,
                        out_width, min(count - c, PANEL), activation)  # fmt: skip


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
    block, blocks, band_rows, bands = cut_by_rows(images, out_height, panels, together)
    block *= PANEL
    in_place = (
        out_channels == channels
        and (geometry.kernel_w, geometry.stride_w) in _IN_PLACE
        and geometry.dilation_w == 1
        and out_width >= PIXELS
        and (geometry.kernel_w == 3 or geometry.kernel_h * width * PANEL * 4 <= _NEAR_BYTES)
    )
    # Bytes of a pixel in the ring, which holds all channels, or those of the last panel.
    cell = 4 * (PANEL if in_place else block)
    scratch = 8 * geometry.kernel_h * geometry.kernel_w + 64 + 4 * PANEL + columns * ring_rows * cell
    address = program.data_address
    args = [
        address(x), height, width, pixel_stride(x) * 4, out_channels // channels,
        address(out), out_height, out_width, pixel_stride(out) * 4, out_channels,
        address(packed.weights), address(packed.bias), activation,
        *geometry[:8],
        band_rows, bands, blocks, block, in_place, cell,
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
