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
from tnnquant.kernels.conv_rows import Work, cut_into_tasks, fill_rows, fill_taps, next_tiles
from tnnquant.kernels.geometry import NO_ACTIVATION, RELU6, ConvGeometry, Extent, pixel_stride
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.pack_f32 import PackedConv
from tnnquant.kernels.pair_f32 import HAS_PAIRS, PAIR_ROWS, part_of, scratch_of_parts, two_panels
from tnnquant.kernels.simd import copy_bytes, copy_pixels, fill_zero, load_words
from tnnquant.kernels.tile_f32 import PANEL, ROWS, tile_f32

__all__ = ["conv2d_f32", "conv2d_f32_naive", "conv2d_f32_op"]

_MIDDLE = ROWS // 2 if ROWS > 12 else ROWS * 2 // 3
_QUARTER = PANEL // 4
_full_4, _full_3, _full_2, _full_1 = (tile_f32(ROWS, v, exact=True, whole=True) for v in (2, 1.5, 1, 0.5))
_tile_middle, _tile_wide = tile_f32(_MIDDLE, 2, exact=True), tile_f32(1, 8, exact=True)


@kernel
def conv2d_f32_naive(x, weight, bias, geometry, activation, out):
    # x: (N, H, W, C); weight: (OC, C/G, KH, KW); bias: (OC,); geometry: ConvGeometry; activation: int;
    # out: (N, OH, OW, OC); all arrays float32
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
                    if activation != NO_ACTIVATION:
                        total = max(total, np.float32(0))
                    if activation == RELU6:
                        total = min(total, np.float32(6))
                    out[n, y, column, o] = total


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
            copy_pixels(to + first * cell, cell, source, pixel_bytes, last - first, cell)


@kernel
def _conv_task(op, index, scratch):
    # op words from ARGS on: see conv2d_f32_op
    (x, height, width, pixel_bytes, channels, out, out_width, out_pixels, out_stride, out_channels, weights, bias,
     panels, groups, activation, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w,
     in_place, fused, block, blocks, panel_blocks, added, added_stride, after,
     part, behind, unit) = load_words(op + 8 * program.ARGS, 34)  # fmt: skip

    # Which image, which range of its output positions, which panels.
    split = index % panel_blocks
    first = index // panel_blocks % blocks * block
    image = index // panel_blocks // blocks
    count = min(block, out_pixels - first)
    tap_count = kernel_h if fused else kernel_h * kernel_w
    long_tap = channels * kernel_w if fused else channels
    row_table = scratch + 8 * tap_count
    spare = (scratch + behind + 63) // 64 * 64
    y0 = first // out_width
    row_bytes = width * pixel_bytes
    origin = x + (image * height + y0 * stride_h - pad_top) * row_bytes - pad_left * pixel_bytes
    if not in_place:
        rows = ((first + count - 1) // out_width - y0) * stride_h + (kernel_h - 1) * dilation_h + 1
        columns = (out_width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
        source, pixel_step = x + image * height * row_bytes, pixel_bytes
        pixel_bytes = channels * groups * 4
        row_bytes = columns * pixel_bytes
        origin = (row_table + 8 * (block + ROWS) + 63) // 64 * 64
        _copy_band(
            source, pixel_step, height, width, row_bytes, y0 * stride_h - pad_top, -pad_left, rows, columns, origin
        )
    fill_rows(row_table, origin, first - y0 * out_width, out_width, count, stride_h * row_bytes, stride_w * pixel_bytes,
              np.int64(ROWS))  # fmt: skip

    group_size = out_channels // groups
    # Panels are shared out by units: those that are computed at once stay together.
    units = (groups * panels + unit - 1) // unit
    end = min(units * (split + 1) // panel_blocks * unit, groups * panels)
    panel_bytes = tap_count * long_tap * (PANEL * 4)
    target = out + (image * out_pixels + first) * out_stride
    other = np.int64(0)
    if added != 0:
        other = added + (image * out_pixels + first) * added_stride
    zero, one, group, p = np.int64(0), np.int64(1), np.int64(-1), units * split // panel_blocks * unit
    while p < end:
        if p // panels != group:
            group = p // panels
            fill_taps(scratch, kernel_h, kernel_w, dilation_h * row_bytes, dilation_w * pixel_bytes, fused,
                      group * channels * 4, one)  # fmt: skip
        inner = p - group * panels
        n = group_size - inner * PANEL
        channel = (group * group_size + inner * PANEL) * 4
        to = target + channel
        o = zero if added == 0 else other + channel
        panel, panel_bias = weights + p * panel_bytes, bias + p * (PANEL * 4)
        if count == 1 and n > 3 * PANEL and p + 4 <= end:
            # A single row is bound by reading weights: four panels at once keep the multiply-adds independent.
            _tile_wide(row_table, scratch, tap_count, long_tap, panel, panel_bytes, panel_bias, to, out_stride, one,
                       min(n, 4 * PANEL), activation, o, added_stride, after, panel, zero, panel, zero)  # fmt: skip
            p += 4
            continue
        if HAS_PAIRS and count >= PAIR_ROWS and n > PANEL + 2 * _QUARTER and p + 2 <= end:
            following = panel + 2 * panel_bytes if p + 2 < end else program.next_weights(op, index, panel)
            two_panels(row_table, count, scratch, tap_count, long_tap, part, spare, panel, panel_bytes, panel_bias, to,
                       out_stride, min(n, np.int64(2 * PANEL)), activation, o, added_stride, after, following,
                       pixel_bytes * in_place)  # fmt: skip
            p += 2
            continue
        i = zero
        while i < count:
            start, m, tiles, is_middle = next_tiles(i, count, np.int64(ROWS), np.int64(_MIDDLE), one)
            at, rows_at = to + start * out_stride, row_table + 8 * start
            also = zero if added == 0 else o + start * added_stride
            # The next panel's weights, a part per tile.
            ahead, ahead_step = panel, zero
            if p + 1 < end:
                ahead_step = (4 * PANEL * ROWS + count - 1) // count
                ahead = panel + panel_bytes + start // ROWS * tap_count * long_tap * ahead_step
            # The smallest tile that covers m rows and n channels.
            if is_middle:
                _tile_middle(rows_at, scratch, tap_count, long_tap, panel, zero, panel_bias, at, out_stride, m,
                             min(n, np.int64(PANEL)), activation, also, added_stride, after, ahead, ahead_step, panel,
                             zero)  # fmt: skip
            elif n > 3 * _QUARTER:
                _full_4(rows_at, scratch, tap_count, long_tap, panel, zero, panel_bias, at, out_stride, tiles,
                        min(n, np.int64(PANEL)), activation, also, added_stride, after, ahead, ahead_step, panel,
                        zero)  # fmt: skip
            elif n > 2 * _QUARTER:
                _full_3(rows_at, scratch, tap_count, long_tap, panel, zero, panel_bias, at, out_stride, tiles, n,
                        activation, also, added_stride, after, ahead, ahead_step, panel, zero)  # fmt: skip
            elif n > _QUARTER:
                _full_2(rows_at, scratch, tap_count, long_tap, panel, zero, panel_bias, at, out_stride, tiles, n,
                        activation, also, added_stride, after, ahead, ahead_step, panel, zero)  # fmt: skip
            else:
                _full_1(rows_at, scratch, tap_count, long_tap, panel, zero, panel_bias, at, out_stride, tiles, n,
                        activation, also, added_stride, after, ahead, ahead_step, panel, zero)  # fmt: skip
            i = start + m
        p += 1


def conv2d_f32_op(
    x: np.ndarray,
    packed: PackedConv,
    geometry: ConvGeometry,
    activation: int,
    out: np.ndarray,
    added: np.ndarray | None = None,
    after: int = 0,
) -> np.ndarray:
    """The op (:mod:`~tnnquant.kernels.program`) of :func:`conv2d_f32`. The arrays must stay alive."""
    channels, out_channels = x.shape[3], out.shape[3]
    groups, panels, _, _ = packed.weights.shape
    stride, out_stride = pixel_stride(x), pixel_stride(out)
    in_place = geometry.inside(*x.shape[1:3], *out.shape[1:3])
    images, x_height, x_width, out_width, pixels, _ = Extent.of(geometry, x, out)
    fused = geometry.dilation_w == 1 and groups == 1 and (channels == stride or not in_place)
    tap_count = geometry.kernel_h * (1 if fused else geometry.kernel_w)
    long_tap = channels // groups * (geometry.kernel_w if fused else 1)
    read = channels * 4 * geometry.stride_w * (1 if in_place else geometry.stride_h)
    macs = images * pixels * out_channels * (channels // groups) * geometry.kernel_h * geometry.kernel_w
    unit = 2 if HAS_PAIRS and groups == 1 and images * pixels > 1 else 1
    units = -(-groups * panels // unit)
    work = Work(images, pixels, out_width, macs, read, packed.weights.nbytes, units, not in_place, not in_place)
    if unit == 2 and in_place:
        # Little of the weights is near at a time: there is room for more rows.
        work = work._replace(band_bytes=2 * work.band_bytes)
    block, blocks, panel_blocks = cut_into_tasks(work, PAIR_ROWS if unit == 2 and panels > 1 else ROWS)
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
        address(added), 0 if added is None else pixel_stride(added) * 4, after,
        part_of(long_tap, tap_count), scratch, unit,
    ]  # fmt: skip
    if HAS_PAIRS:
        scratch += 64 + scratch_of_parts(block)
    return program.new_op(_conv_task, images * blocks * panel_blocks, scratch, args, packed.weights, panel_blocks)


def conv2d_f32(
    x: np.ndarray,
    packed: PackedConv,
    geometry: ConvGeometry,
    activation: int,
    out: np.ndarray,
    added: np.ndarray | None = None,
    after: int = 0,
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
    added : float32 (N, OH, OW, OC) or None
        Added to the results; may lie in a wider array. The bits are those of a convolution and an Add after it.
    after : int
        The activation after that, a code as above.
    """
    program.run(conv2d_f32_op(x, packed, geometry, activation, out, added, after))
    return out
