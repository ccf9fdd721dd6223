"""int8 convolution of channels-last images, bit-exact to TNN's naive device (docs/tnn-format.md, 6.3).

Versions, slowest first:

* :func:`conv2d_i8_naive`: TNN's loops; the reference.
* :func:`conv2d_i8`: an implicit GEMM over tiles of output positions x output channels
  (:mod:`~tnnquant.kernels.tile_i8`). Each task first puts the input rows it needs into scratch memory in the form the
  dot product takes (int16 minus the zero point, or shifted bytes), borders included; the tiles then read them through
  row pointers, the requantization happens before anything is stored. Where a CPU multiplies whole tiles,
  :mod:`~tnnquant.kernels.conv_amx` takes its place.

Depthwise convolutions have their own kernel, :mod:`~tnnquant.kernels.depthwise_i8`.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.conv_amx import conv2d_tiles_op, takes_tiles
from tnnquant.kernels.conv_rows import Work, cut_into_tasks, fill_rows, fill_taps, next_tiles
from tnnquant.kernels.convert_i8 import convert_pixels, copy_if_positive
from tnnquant.kernels.dot_i8 import BYTE_DOT, DEPTH, GROUP, PANEL, ROWS
from tnnquant.kernels.geometry import RELU, RELU6, ConvGeometry, Extent, pixel_stride
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.pack_i8 import PackedConvI8
from tnnquant.kernels.requantize_i8 import requantize_rows
from tnnquant.kernels.results_i8 import PARAMETERS
from tnnquant.kernels.simd import fill_zero, load_words
from tnnquant.kernels.target import isa
from tnnquant.kernels.tile_i8 import tile_i8

__all__ = ["conv2d_i8", "conv2d_i8_naive", "conv2d_i8_op", "round_to_i8"]

_HALF = PANEL // 2
_MIDDLE = ROWS // 2 if ROWS > 12 else ROWS * 2 // 3
_SIZES = ((ROWS, 2), (_MIDDLE, 2), (ROWS, 1), (1, 8))
_tile_full, _tile_middle, _tile_half, _tile_wide = (tile_i8(*size) for size in _SIZES)
_byte_full, _byte_middle, _byte_half, _byte_wide = (tile_i8(*size, BYTE_DOT or isa().dot) for size in _SIZES)
# A constant to the compiler: without a byte dot its tiles are not compiled.
_HAS_BYTES = BYTE_DOT is not None
_STEP = PANEL * DEPTH * 4 // GROUP  # bytes of a panel's weights per step
_ELEMENT = 4 // GROUP  # bytes of an activation in scratch memory
_UNIT = max(1, 64 // PANEL)  # panels that fill a cache line of the output: no two tasks write to one
_BUFFER = 4 * PANEL * max(ROWS, 4)  # bytes of the sums of a tile


@inline
def round_to_i8(value):
    """f2i8 of TNN: float32 to int8, half away from zero, saturated; NaN becomes 127."""
    shifted = value + (np.float32(0.5) if value >= np.float32(0) else np.float32(-0.5))
    clamped = shifted if shifted < np.float32(127) else np.float32(127)
    return np.int32(clamped if clamped > np.float32(-128) else np.float32(-128))


@inline
def _rescale(total, o, scale, scale_out, zero_out, activation, fusion, added, added_scale, added_zero):
    # One output of TNN's epilogue; the scale arrays have one value per channel.
    tiny = np.float32(1.1754943508222875e-38)
    usable = scale_out[o] >= tiny
    value = np.float32(total) * (scale[o] / scale_out[o] if usable else np.float32(0))
    term = np.float32(0)
    if fusion != 0:
        factor = added_scale[o] / scale_out[o] if usable else np.float32(0)
        term = np.float32(added) * factor - np.float32(added_zero[o]) * factor
    if fusion == 1:
        value = value + term
    if activation == RELU:
        value = max(np.float32(0), value)
    if activation == RELU6:
        return max(np.int32(0), min(round_to_i8(value), round_to_i8(np.float32(6) / scale_out[o])))
    if fusion == 2:
        value = value + term
    return round_to_i8(value + np.float32(zero_out[o]))


@kernel
def conv2d_i8_naive(x, weight, quant, geometry, activation, fusion, added, out):
    # x: int8 (N, H, W, C); weight: int8 (OC, C/G, KH, KW); quant: ConvQuant with one value per channel and no None;
    # geometry: ConvGeometry; activation, fusion: int; added, out: int8 (N, OH, OW, OC), added is read only if fusion is
    # not 0
    kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups = geometry
    scale, weight_zero, input_zero, bias, scale_out, zero_out, added_scale, added_zero = quant
    count = weight.shape[0] // groups
    channels = weight.shape[1]
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            for column in range(out.shape[2]):
                for o in range(weight.shape[0]):
                    first = o // count * channels
                    total = bias[o]
                    for kh in range(kernel_h):
                        iy = y * stride_h - pad_top + kh * dilation_h
                        if iy < 0 or iy >= x.shape[1]:
                            continue
                        for kw in range(kernel_w):
                            ix = column * stride_w - pad_left + kw * dilation_w
                            if ix < 0 or ix >= x.shape[2]:
                                continue
                            for c in range(channels):
                                a = np.int32(x[n, iy, ix, first + c]) - np.int32(input_zero[first + c])
                                b = np.int32(weight[o, c, kh, kw]) - np.int32(weight_zero[o])
                                total = np.int32(total + np.int32(a * b))
                    other = np.int32(added[n, y, column, o]) if fusion != 0 else np.int32(0)
                    out[n, y, column, o] = _rescale(total, o, scale, scale_out, zero_out, activation, fusion, other,
                                                    added_scale, added_zero)  # fmt: skip


@kernel
def _fill_band(is_bytes, x, pixel_bytes, height, width, channels, zero, run, subtract, top, left, step_h, step_w, rows,
               columns, band):  # fmt: skip
    # x: address of an image's (0, 0), int8; zero: int8 (run * channels,). band: (rows, columns, channels) in the form
    # of the dot product; (r, i) is the image's (top + r * step_h, left + i * step_w), or the zero point outside the
    # image; subtract: whether some zero point is not 0. With is_bytes the values stay bytes; the result is then
    # negative if one of them is, and the band is unfinished.
    cell = channels if is_bytes else channels * _ELEMENT
    row_bytes = columns * cell
    begin = min(-(left // step_w), columns) if left < 0 else np.int64(0)
    end = max(min((width - left + step_w - 1) // step_w, columns), begin)
    none = np.int64(0)
    together = np.int64(1)
    if step_w == 1 and pixel_bytes == channels:
        # Neighbouring pixels are one long run.
        together = run
    groups = (end - begin) // together
    rest = end - begin - groups * together
    for r in range(rows):
        to = band + np.int64(r) * row_bytes
        y = top + r * step_h
        first, last = begin, end
        if y < 0 or y >= height or begin == end:
            first, last = columns, columns
        source = x + (y * width + left + begin * step_w) * pixel_bytes
        step = step_w * pixel_bytes
        if is_bytes:
            fill_zero(to, first * cell)
            fill_zero(to + last * cell, (columns - last) * cell)
            if first < last:
                if together > 1:
                    found = copy_if_positive(to + begin * cell, none, source, none, np.int64(1), (end - begin) * cell)
                else:
                    found = copy_if_positive(to + begin * cell, cell, source, step, end - begin, channels)
                if found < 0:
                    return found
            continue
        convert_pixels(to, cell, zero, none, first, channels, zero, subtract)
        convert_pixels(to + last * cell, cell, zero, none, columns - last, channels, zero, subtract)
        if first < last:
            at = to + begin * cell
            convert_pixels(at, together * cell, source, together * step, groups, together * channels, zero, subtract)
            at += groups * together * cell
            source += groups * together * step
            rest_pixels = np.int64(1) if together > 1 and rest else none
            convert_pixels(at, cell, source, step, rest_pixels, rest * channels, zero, subtract)
    return none


@kernel
def _run_tiles(is_bytes, kind, rows, taps, tap_count, steps, weights, panel_bytes, params, params_bytes, out,
               out_stride, repeat, n, activation, simple, sums, fusion, added, added_stride):  # fmt: skip
    # kind: 0 full, 1 middle, 2 half, 3 wide tiles; the rest is that of tile_i8
    if _HAS_BYTES and is_bytes:
        if kind == 0:
            _byte_full(rows, taps, tap_count, steps, weights, panel_bytes, params, params_bytes, out, out_stride,
                       repeat, n, activation, simple, sums, fusion, added, added_stride)  # fmt: skip
        elif kind == 1:
            _byte_middle(rows, taps, tap_count, steps, weights, panel_bytes, params, params_bytes, out, out_stride,
                       repeat, n, activation, simple, sums, fusion, added, added_stride)  # fmt: skip
        elif kind == 2:
            _byte_half(rows, taps, tap_count, steps, weights, panel_bytes, params, params_bytes, out, out_stride,
                       repeat, n, activation, simple, sums, fusion, added, added_stride)  # fmt: skip
        else:
            _byte_wide(rows, taps, tap_count, steps, weights, panel_bytes, params, params_bytes, out, out_stride,
                       repeat, n, activation, simple, sums, fusion, added, added_stride)  # fmt: skip
    elif kind == 0:
        _tile_full(rows, taps, tap_count, steps, weights, panel_bytes, params, params_bytes, out, out_stride,
                   repeat, n, activation, simple, sums, fusion, added, added_stride)  # fmt: skip
    elif kind == 1:
        _tile_middle(rows, taps, tap_count, steps, weights, panel_bytes, params, params_bytes, out, out_stride,
                   repeat, n, activation, simple, sums, fusion, added, added_stride)  # fmt: skip
    elif kind == 2:
        _tile_half(rows, taps, tap_count, steps, weights, panel_bytes, params, params_bytes, out, out_stride,
                   repeat, n, activation, simple, sums, fusion, added, added_stride)  # fmt: skip
    else:
        _tile_wide(rows, taps, tap_count, steps, weights, panel_bytes, params, params_bytes, out, out_stride,
                   repeat, n, activation, simple, sums, fusion, added, added_stride)  # fmt: skip


@kernel
def _conv_task(op, index, scratch):
    # op words from ARGS on: see conv2d_i8_op
    (x, height, width, pixel_bytes, channels, out, out_width, out_pixels, out_stride, out_channels, weights, params,
     panels, groups, activation, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w,
     fused, block, blocks, panel_blocks, steps, repeat, zeros, run, fusion, added, added_stride, byte_weights,
     byte_steps, subtract, simple) = load_words(op + 8 * program.ARGS, 38)  # fmt: skip

    # Which image, which range of its output positions, which panels.
    split = index % panel_blocks
    first = index // panel_blocks % blocks * block
    image = index // panel_blocks // blocks
    count = min(block, out_pixels - first)
    sums = (scratch + 8 * repeat * kernel_h * kernel_w + 63) // 64 * 64
    row_table = sums + _BUFFER
    band = (row_table + 8 * (block + ROWS) + 63) // 64 * 64

    # A kernel of one row or column needs only the positions it is applied at.
    y0 = first // out_width
    y1 = (first + count - 1) // out_width
    column0 = np.int64(0)
    columns = (out_width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    rows = (y1 - y0) * stride_h + (kernel_h - 1) * dilation_h + 1
    step_h, step_w = np.int64(1), np.int64(1)
    top, left = y0 * stride_h - pad_top, -pad_left
    if kernel_h == 1:
        step_h, stride_h, rows = stride_h, np.int64(1), y1 - y0 + 1
    if kernel_w == 1:
        step_w, stride_w, columns = stride_w, np.int64(1), out_width
        if y0 == y1:
            column0, columns = first - y0 * out_width, count
            left += column0 * step_w
    source = x + image * height * width * pixel_bytes
    all_channels = channels * groups
    # Bytes if no value is negative, which is as likely for the whole input as for its first rows.
    is_bytes = np.int64(byte_weights != 0)
    found = _fill_band(is_bytes, source, pixel_bytes, height, width, all_channels, zeros, run, subtract, top, left,
                       step_h, step_w, rows, columns, band)  # fmt: skip
    if found < 0:
        is_bytes = np.int64(0)
        _fill_band(is_bytes, source, pixel_bytes, height, width, all_channels, zeros, run, subtract, top, left, step_h,
                   step_w, rows, columns, band)  # fmt: skip
    element = np.int64(_ELEMENT)
    if is_bytes:
        element, weights, steps, repeat = np.int64(1), byte_weights, byte_steps, np.int64(1)
    cell = all_channels * element
    row_bytes = columns * cell
    fill_rows(row_table, band, first - y0 * out_width - column0, out_width, count, stride_h * row_bytes,
              stride_w * cell, np.int64(ROWS))  # fmt: skip

    tap_count = repeat * kernel_h * (1 if fused else kernel_w)
    group_size = out_channels // groups
    units = (groups * panels + _UNIT - 1) // _UNIT
    end = min(units * (split + 1) // panel_blocks * _UNIT, groups * panels)
    panel_bytes, params_bytes = tap_count * steps * _STEP, np.int64(PARAMETERS * PANEL * 4)
    target = out + (image * out_pixels + first) * out_stride
    other = added + (image * out_pixels + first) * added_stride
    zero, one, full, middle = np.int64(0), np.int64(1), np.int64(ROWS), np.int64(_MIDDLE)
    group, p = np.int64(-1), units * split // panel_blocks * _UNIT
    while p < end:
        if p // panels != group:
            group = p // panels
            fill_taps(scratch, kernel_h, kernel_w, dilation_h * row_bytes, dilation_w * cell, fused,
                      group * channels * element, repeat)  # fmt: skip
        inner = p - group * panels
        n = group_size - inner * PANEL
        channel = group * group_size + inner * PANEL
        panel, table, to, o = weights + p * panel_bytes, params + p * params_bytes, target + channel, other + channel
        if count == 1 and n > 3 * PANEL and p + 4 <= end:
            # A single row is bound by reading weights: four panels at once keep the sums independent.
            n = min(n, np.int64(4 * PANEL))
            _run_tiles(is_bytes, np.int64(3), row_table, scratch, tap_count, steps, panel, panel_bytes, table,
                       params_bytes, to, out_stride, one, n, activation, simple, sums, fusion, o,
                       added_stride)  # fmt: skip
            if simple == 0:
                requantize_rows(sums, (n + PANEL - 1) // PANEL, np.int64(PANEL), params_bytes, np.int64(PANEL),
                                np.int64(PANEL), table, to, n, activation, fusion, o)  # fmt: skip
            p += 4
            continue
        n = min(n, np.int64(PANEL))
        i = zero
        while i < count:
            start, m, tiles, is_middle = next_tiles(i, count, full, middle, simple)
            kind = np.int64(1) if is_middle else np.int64(2 if n <= _HALF else 0)
            # A tile with more rows than there are leaves its sums.
            direct = np.int64(simple != 0 and m >= (middle if is_middle else full))
            at = to + start * out_stride
            _run_tiles(is_bytes, kind, row_table + 8 * start, scratch, tap_count, steps, panel, zero, table, zero, at,
                       out_stride, tiles, n, activation, direct, sums, fusion, o + start * added_stride,
                       added_stride)  # fmt: skip
            if direct == 0:
                requantize_rows(sums, m, out_stride, zero, zero, added_stride, table, at, n, activation, fusion,
                                o + start * added_stride)  # fmt: skip
            i = start + m
        p += 1


def conv2d_i8_op(
    x: np.ndarray,
    packed: PackedConvI8,
    geometry: ConvGeometry,
    activation: int,
    out: np.ndarray,
    added: np.ndarray | None = None,
    fusion: int = 0,
) -> np.ndarray:
    """The op (:mod:`~tnnquant.kernels.program`) of :func:`conv2d_i8`. The arrays must stay alive."""
    if takes_tiles(out.shape[0], out.shape[1] * out.shape[2], packed):
        return conv2d_tiles_op(x, packed, geometry, activation, out, added, fusion)
    channels, out_channels = x.shape[3], out.shape[3]
    groups, panels = packed.weights.shape[:2]
    images, x_height, x_width, out_width, pixels, flat = Extent.of(geometry, x, out)
    taps = geometry.kernel_h * geometry.kernel_w
    read = channels * _ELEMENT * (geometry.stride_h * geometry.stride_w if geometry.kernel_h > 1 else 1)
    macs = images * pixels * out_channels * (channels // groups) * taps
    work = Work(
        images, pixels, out_width, macs, read, packed.weights.nbytes, -(-groups * panels // _UNIT), copies=True,
        whole_rows=not flat,
    )  # fmt: skip
    block, blocks, panel_blocks = cut_into_tasks(work, ROWS)
    rows = -(-block // out_width) * geometry.stride_h + (geometry.kernel_h - 1) * geometry.dilation_h + 1
    columns = (out_width - 1) * geometry.stride_w + (geometry.kernel_w - 1) * geometry.dilation_w + 1
    cells = block if flat else rows * columns
    # The last step of a tap reads up to DEPTH - 1 elements further than the tap.
    scratch = 8 * (taps * packed.repeat + block + ROWS) + _BUFFER + cells * channels * _ELEMENT + 3 * 64
    address = program.data_address
    args = [
        address(x), x_height, x_width, pixel_stride(x), channels // groups,
        address(out), out_width, pixels, pixel_stride(out), out_channels,
        address(packed.weights), address(packed.params), panels, groups, activation,
        *geometry[:8],
        packed.fused, block, blocks, panel_blocks, packed.steps, packed.repeat,
        address(packed.input_zero), len(packed.input_zero) // channels,
        fusion, address(added), 0 if added is None else pixel_stride(added),
        address(packed.byte_weights) if packed.byte_steps else 0, packed.byte_steps,
        packed.has_zero, packed.simple.with_activation(activation) and (fusion != 2 or activation == 0),
    ]  # fmt: skip
    return program.new_op(_conv_task, images * blocks * panel_blocks, scratch, args)


def conv2d_i8(
    x: np.ndarray,
    packed: PackedConvI8,
    geometry: ConvGeometry,
    activation: int,
    out: np.ndarray,
    added: np.ndarray | None = None,
    fusion: int = 0,
) -> np.ndarray:
    """Quantized convolution, all of TNN's epilogue included.

    Parameters
    ----------
    x : int8 (N, H, W, C)
        C-contiguous, or a slice of channels of such an array.
    packed : PackedConvI8
        :func:`~tnnquant.kernels.pack_i8.pack_conv_i8` with the same geometry.
    geometry : ConvGeometry
        Nothing is checked here.
    activation : int
        0 none, 1 ReLU, 2 ReLU6 (which drops the output's zero point, as TNN does).
    out : int8 (N, OH, OW, OC)
        Written and returned; C-contiguous or a slice of channels of a wider array. Must overlap neither x nor added.
        Taps outside x contribute nothing.
    added : int8 (N, OH, OW, OC) or None
        The other operand of a fused Add.
    fusion : int
        0 none, 1 the Add before the activation, 2 after it.
    """
    program.run(conv2d_i8_op(x, packed, geometry, activation, out, added, fusion))
    return out
