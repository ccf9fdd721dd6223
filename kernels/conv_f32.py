"""fp32 convolution of channels-last images, as an implicit GEMM.

Versions, slowest first:

* :func:`conv2d_f32_naive`: TNN's loops; the reference.
* :func:`conv2d_f32`: tiles of output positions x output channels (:mod:`~tnnquant.kernels.tile_f32`). Rows are read in
  place when no tap leaves the image (1x1 convolutions are then a plain matrix product); otherwise each task copies the
  rows it needs, with a border of zeros, into scratch memory that stays in the cache. Where the taps of a kernel row are
  neighbours in memory they are one long tap (``KW*C`` channels), which also serves first layers with 3 channels.

Depthwise convolutions have their own kernel, :mod:`~tnnquant.kernels.depthwise_f32`.
"""

from __future__ import annotations

import numpy as np
from tnnquant.kernels import program
from tnnquant.kernels.geometry import ConvGeometry, pixel_stride
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.pack_f32 import PackedConv
from tnnquant.kernels.simd import copy_bytes, fill_zero, words
from tnnquant.kernels.tile_f32 import PANEL, ROWS, tile_f32

__all__ = ["conv2d_f32", "conv2d_f32_naive", "conv2d_f32_op"]

_HALF = PANEL // 2
_MIDDLE = ROWS * 2 // 3
_tile_full, _tile_full_half = tile_f32(ROWS, 2), tile_f32(ROWS, 1)
_tile_middle, _tile_middle_half = tile_f32(_MIDDLE, 2), tile_f32(_MIDDLE, 1)
_tile_pair = tile_f32(2, 2)
_tile_one, _tile_wide = tile_f32(1, 2), tile_f32(1, 8)

# Bytes of input and of weights that a task works on at a time: both stay in a second-level cache.
_BAND_BYTES = 192 * 1024


@kernel
def conv2d_f32_naive(x, weight, bias, geometry, activation, out):
    # x: (N, H, W, C); weight: (OC, C/G, KH, KW); bias: (OC,); geometry: ConvGeometry; out: (N, OH, OW, OC); all float32
    kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups = geometry
    count = weight.shape[0] // groups
    channels = weight.shape[1]
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            for column in range(out.shape[2]):
                for o in range(weight.shape[0]):
                    first = o // count * channels
                    total = np.float32(0)
                    for kh in range(kernel_h):
                        iy = y * stride_h - pad_top + kh * dilation_h
                        if iy < 0 or iy >= x.shape[1]:
                            continue
                        for kw in range(kernel_w):
                            ix = column * stride_w - pad_left + kw * dilation_w
                            if ix < 0 or ix >= x.shape[2]:
                                continue
                            for c in range(channels):
                                total += x[n, iy, ix, first + c] * weight[o, c, kh, kw]
                    total += bias[o]
                    if activation != 0:
                        total = max(total, np.float32(0))
                    if activation == 2:
                        total = min(total, np.float32(6))
                    out[n, y, column, o] = total


@inline
def _run_tile(rows, taps, tap_count, channels, weights, bias, out, out_stride, m, n, activation):
    # Addresses and bytes, see tile_f32. The smallest tile that covers m rows and n channels.
    zero = np.int64(0)
    if n > _HALF:
        if m > _MIDDLE:
            _tile_full(rows, taps, tap_count, channels, weights, zero, bias, out, out_stride, m, n, activation)
        elif m > 2:
            _tile_middle(rows, taps, tap_count, channels, weights, zero, bias, out, out_stride, m, n, activation)
        elif m > 1:
            _tile_pair(rows, taps, tap_count, channels, weights, zero, bias, out, out_stride, m, n, activation)
        else:
            _tile_one(rows, taps, tap_count, channels, weights, zero, bias, out, out_stride, m, n, activation)
    elif m > _MIDDLE:
        _tile_full_half(rows, taps, tap_count, channels, weights, zero, bias, out, out_stride, m, n, activation)
    else:
        _tile_middle_half(rows, taps, tap_count, channels, weights, zero, bias, out, out_stride, m, n, activation)


@kernel
def _copy_band(x, pixel_bytes, height, width, row_bytes, top, left, rows, columns, band):
    # x: address of an image's (0, 0); band: address of (rows, columns, row_bytes / columns) whose (0, 0) is (top, left)
    # of the image. What lies outside the image becomes 0.
    cell = row_bytes // columns
    first = min(max(-left, 0), columns)
    last = max(min(width - left, columns), first)
    for r in range(rows):
        to = band + np.int64(r) * row_bytes
        y = top + r
        if y < 0 or y >= height or first == last:
            fill_zero(to, row_bytes)
            continue
        fill_zero(to, first * cell)
        fill_zero(to + last * cell, (columns - last) * cell)
        source = x + (np.int64(y) * width + left + first) * pixel_bytes
        if pixel_bytes == cell:
            copy_bytes(to + first * cell, source, (last - first) * cell)
        else:
            for i in range(last - first):
                copy_bytes(to + (first + i) * cell, source + i * pixel_bytes, cell)


@inline
def _fill_taps(taps, kernel_h, kernel_w, step_h, step_w, fused, start):
    # taps: int64 (tap_count,), byte offsets of the taps from a row's first
    for kh in range(kernel_h):
        if fused:
            taps[kh] = start + kh * step_h
        else:
            for kw in range(kernel_w):
                taps[kh * kernel_w + kw] = start + kh * step_h + kw * step_w


@kernel
def _conv_task(op, index, scratch):
    # op words from ARGS on: see conv2d_f32_op
    args = words(op, program.WORDS)[program.ARGS :]
    x, height, width, pixel_bytes, channels = args[0], args[1], args[2], args[3], args[4]
    out, out_width, out_pixels, out_stride, out_channels = args[5], args[6], args[7], args[8], args[9]
    weights, bias, panels, groups, activation = args[10], args[11], args[12], args[13], args[14]
    kernel_h, kernel_w, stride_h, stride_w = args[15], args[16], args[17], args[18]
    pad_top, pad_left, dilation_h, dilation_w = args[19], args[20], args[21], args[22]
    in_place, fused, block, blocks, panel_blocks = args[23], args[24], args[25], args[26], args[27]

    # Which image, which range of its output positions, which panels.
    split = index % panel_blocks
    first = index // panel_blocks % blocks * block
    image = index // panel_blocks // blocks
    count = min(block, out_pixels - first)
    tap_count = kernel_h if fused else kernel_h * kernel_w
    long_tap = channels * kernel_w if fused else channels
    row_table = scratch + 8 * tap_count
    band = row_table + 8 * (block + ROWS)
    source = x + image * height * width * pixel_bytes
    y0 = first // out_width
    row_bytes = width * pixel_bytes
    if in_place:
        origin = source - (pad_top * width + pad_left) * pixel_bytes
    else:
        y_last = (first + count - 1) // out_width
        top = y0 * stride_h - pad_top
        rows = (y_last - y0) * stride_h + (kernel_h - 1) * dilation_h + 1
        columns = (out_width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
        cell = channels * groups * 4
        row_bytes = columns * cell
        _copy_band(source, pixel_bytes, height, width, row_bytes, top, -pad_left, rows, columns, band)
        pixel_bytes = cell
        origin = band - y0 * stride_h * row_bytes

    # Address of every output position's first tap; the last one repeated up to a whole tile.
    table = words(row_table, block + ROWS)
    y, column = y0, first - y0 * out_width
    for i in range(count):
        table[i] = origin + y * stride_h * row_bytes + column * stride_w * pixel_bytes
        column += 1
        if column == out_width:
            column = 0
            y += 1
    for i in range(count, count + ROWS):
        table[i] = table[count - 1]

    taps = words(scratch, tap_count)
    group_size = out_channels // groups
    total = groups * panels
    begin = total * split // panel_blocks
    end = total * (split + 1) // panel_blocks
    panel_bytes = tap_count * long_tap * (PANEL * 4)
    target = out + (image * out_pixels + first) * out_stride
    group = np.int64(-1)
    p = begin
    while p < end:
        if p // panels != group:
            group = p // panels
            _fill_taps(
                taps, kernel_h, kernel_w, dilation_h * row_bytes, dilation_w * pixel_bytes, fused, group * channels * 4
            )
        inner = p - group * panels
        n = group_size - inner * PANEL
        to = target + (group * group_size + inner * PANEL) * 4
        panel_weights = weights + p * panel_bytes
        panel_bias = bias + p * (PANEL * 4)
        if count == 1 and n > 3 * PANEL and p + 4 <= end:
            # A single row is bound by reading weights: four panels at once keep the multiply-adds independent.
            n = min(n, 4 * PANEL)
            _tile_wide(row_table, scratch, tap_count, long_tap, panel_weights, panel_bytes, panel_bias, to, out_stride,
                       np.int64(1), n, activation)  # fmt: skip
            p += 4
            continue
        n = min(n, PANEL)
        for m in range(0, count, ROWS):
            _run_tile(row_table + 8 * m, scratch, tap_count, long_tap, panel_weights, panel_bias, to + m * out_stride,
                      out_stride, min(count - m, ROWS), n, activation)  # fmt: skip
        p += 1


def _block_size(pixels: int, out_width: int, row_bytes: int, in_place: bool, threads_worth: int) -> int:
    """Output positions a task computes: what fits the cache, enough tasks for the threads, whole rows if copied."""
    limit = max(_BAND_BYTES // max(row_bytes, 1), ROWS)
    limit = min(limit, max(-(-pixels // threads_worth), ROWS))
    if in_place:
        blocks = max(1, round(pixels / limit))
        return min(-(-pixels // (blocks * ROWS)) * ROWS, pixels)
    rows = max(1, limit // out_width)
    # Whole tiles where that costs few rows.
    for more in range(rows, min(rows + 3, -(-pixels // out_width) + 1)):
        if more * out_width % ROWS == 0:
            rows = more
            break
    return min(rows * out_width, pixels)


def conv2d_f32_op(
    x: np.ndarray, packed: PackedConv, geometry: ConvGeometry, activation: int, out: np.ndarray
) -> np.ndarray:
    """The op (:mod:`~tnnquant.kernels.program`) of :func:`conv2d_f32`. The arrays must stay alive."""
    images, height, width, channels = x.shape
    _, out_height, out_width, out_channels = out.shape
    groups, panels, _, _ = packed.weights.shape
    pixels = out_height * out_width
    stride, out_stride = pixel_stride(x), pixel_stride(out)
    in_place = geometry.inside(height, width, out_height, out_width)
    x_height, x_width = height, width
    if in_place and geometry[:4] == (1, 1, 1, 1) and (height, width) == (out_height, out_width):
        # A matrix product: the images are one long row of pixels.
        pixels *= images
        images, x_height, x_width, out_width = 1, 1, pixels, pixels
    fused = geometry.dilation_w == 1 and groups == 1 and (channels == stride or not in_place)
    tap_count = geometry.kernel_h * (1 if fused else geometry.kernel_w)
    read = channels * 4 * geometry.stride_w * (1 if in_place else geometry.stride_h)
    block = _block_size(pixels, out_width, read, in_place, max(1, 4 // images))
    blocks = -(-pixels // block)
    total_panels = groups * panels
    panel_blocks = 1
    if images * blocks < 4:
        panel_blocks = min(total_panels, 4) if pixels > 1 else max(1, min(total_panels // 4, 8))
    scratch = 8 * (tap_count + block + ROWS) + 64
    if not in_place:
        rows = (block // out_width - 1) * geometry.stride_h + (geometry.kernel_h - 1) * geometry.dilation_h + 1
        columns = (out_width - 1) * geometry.stride_w + (geometry.kernel_w - 1) * geometry.dilation_w + 1
        scratch += rows * columns * channels * 4
    address = program.data_address
    args = [
        address(x), x_height, x_width, stride * 4, channels // groups,
        address(out), out_width, pixels, out_stride * 4, out_channels,
        address(packed.weights), address(packed.bias), panels, groups, activation,
        *geometry[:8],
        in_place, fused, block, blocks, panel_blocks,
    ]  # fmt: skip
    return program.new_op(_conv_task, images * blocks * panel_blocks, scratch, args)


def conv2d_f32(
    x: np.ndarray, packed: PackedConv, geometry: ConvGeometry, activation: int, out: np.ndarray
) -> np.ndarray:
    """Convolution with bias and activation, TNN's arithmetic (taps in the order kh, kw, c; then the bias).

    Parameters
    ----------
    x : float32 (N, H, W, C)
        C-contiguous, or a slice of channels of such an array.
    packed : PackedConv
        :func:`~tnnquant.kernels.pack_f32.pack_conv_f32` of weights (OC, C/groups, KH, KW).
    geometry : ConvGeometry
        Nothing is checked here; kernel size and groups must be those of the weights.
    activation : int
        0 none, 1 ReLU, 2 ReLU6.
    out : float32 (N, OH, OW, OC)
        Written and returned; C-contiguous or a slice of channels of a wider array (a concat needs no copy then). Its
        size is the caller's decision; taps outside x count as 0.
    """
    program.run(conv2d_f32_op(x, packed, geometry, activation, out))
    return out
