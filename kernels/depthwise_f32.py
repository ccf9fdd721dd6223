"""fp32 depthwise convolution of channels-last images, vectorized over channels.

Versions, slowest first:

* :func:`~tnnquant.kernels.conv_f32.conv2d_f32_naive` with as many groups as channels: the reference.
* :func:`depthwise_f32`: blocks of 4 neighbouring outputs x 2 vectors of channels, so that a vector of weights serves
  four multiply-adds; the taps that leave the image are cut off by bounds, not by padding. Channels are worked on in
  blocks whose weights and rows stay in the first-level cache. Limit: two loads a cycle.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic
from tnnquant.kernels import program
from tnnquant.kernels.geometry import ConvGeometry, pixel_stride
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.pack_f32 import PackedDepthwise
from tnnquant.kernels.simd import F32, I64, Emitter, f32_view, words
from tnnquant.kernels.target import isa
from tnnquant.kernels.tile_f32 import activate

__all__ = ["depthwise_f32", "depthwise_f32_op"]

_LANES = isa().lanes
_PAIR = 2 * _LANES
_BLOCK = 8 * _LANES  # channels a task works on at a time


def _depthwise_tile(pixels: int, vectors: int, lanes: int):
    """An intrinsic for ``pixels`` neighbouring outputs x ``vectors`` vectors of channels.

    ``tile(x, pixel_step, taps, tap_count, weights, bias, out, out_step, activation)``, all int64, addresses and steps
    in bytes: outputs lie ``pixel_step`` apart in x and ``out_step`` apart in out; taps is int64 (tap_count, 2), the
    offsets of a tap in x and in the weights, in the order of the sum. One table of offsets keeps the loop free of
    address arithmetic.
    """

    @intrinsic
    def tile(typingctx, x, pixel_step, taps, tap_count, weights, bias, out, out_step, activation):
        def codegen(context, builder, sig, args):
            x, pixel_step, taps, tap_count, weights, bias, out, out_step, activation = args
            emit = Emitter(builder, lanes)
            table, weights = emit.pointer(taps, I64), emit.pointer(weights)
            bases = [emit.pointer(builder.add(x, builder.mul(pixel_step, I64(p)))) for p in range(pixels)]
            sums = [[emit.variable(emit.constant(0.0)) for _ in range(vectors)] for _ in range(pixels)]
            with emit.loop(tap_count) as t:
                entry = emit.at(table, builder.mul(t, I64(2)))
                x_offset, w_offset = builder.load(entry), builder.load(emit.at(entry, 1))
                w_at = emit.at(weights, w_offset)
                columns = [emit.load(emit.at(w_at, 4 * v * lanes)) for v in range(vectors)]
                for p in range(pixels):
                    pixel = emit.at(bases[p], x_offset)
                    for v in range(vectors):
                        value = emit.load(emit.at(pixel, 4 * v * lanes))
                        builder.store(emit.multiply_add(value, columns[v], builder.load(sums[p][v])), sums[p][v])
            values = [[builder.load(slot) for slot in line] for line in sums]
            values = activate(emit, values, emit.pointer(bias, F32), activation)
            for p in range(pixels):
                target = emit.pointer(builder.add(out, builder.mul(out_step, I64(p))), F32)
                for v in range(vectors):
                    emit.store(values[p][v], emit.at(target, v * lanes))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), codegen

    return tile


_tile_block = _depthwise_tile(4, 2, _LANES)
_tile_pixel = _depthwise_tile(1, 4, _LANES)
_tile_vector = _depthwise_tile(1, 1, _LANES)
_tile_scalar = _depthwise_tile(1, 1, 1)


@inline
def _run_block(x, pixel_step, taps, tap_count, weights, bias, out, out_step, activation, channels):
    # 4 neighbouring outputs, channels >= one pair of vectors. The last pair overlaps the one before it: the same values
    # are computed twice, and nothing outside is touched.
    c = np.int64(0)
    while c < channels:
        c = min(c, channels - _PAIR)
        _tile_block(
            x + 4 * c, pixel_step, taps, tap_count, weights + 4 * c, bias + 4 * c, out + 4 * c, out_step, activation
        )
        c += _PAIR


@inline
def _run_pixel(x, taps, tap_count, weights, bias, out, activation, channels):
    # One output, any number of channels and taps.
    c = np.int64(0)
    zero = np.int64(0)
    if channels >= 4 * _LANES:
        while c < channels:
            c = min(c, channels - 4 * _LANES)
            _tile_pixel(x + 4 * c, zero, taps, tap_count, weights + 4 * c, bias + 4 * c, out + 4 * c, zero, activation)
            c += 4 * _LANES
    elif channels >= _LANES:
        while c < channels:
            c = min(c, channels - _LANES)
            _tile_vector(x + 4 * c, zero, taps, tap_count, weights + 4 * c, bias + 4 * c, out + 4 * c, zero, activation)
            c += _LANES
    else:
        while c < channels:
            _tile_scalar(x + 4 * c, zero, taps, tap_count, weights + 4 * c, bias + 4 * c, out + 4 * c, zero, activation)
            c += 1


@inline
def _tap_range(start, step, taps, size):
    """First and one-past-last tap whose position ``start + tap * step`` lies in ``0 .. size-1``."""
    first = min((-start + step - 1) // step if start < 0 else np.int64(0), taps)
    last = (size - 1 - start) // step + 1 if size > start else np.int64(0)
    return first, max(first, min(last, taps))


@inline
def _inside_range(kernel, stride, pad, dilation, size, out_size):
    """The outputs, first and one past last, all of whose taps lie in the image."""
    first = min(max((pad + stride - 1) // stride, 0), out_size)
    reach = size - 1 - (kernel - 1) * dilation + pad
    last = min(reach // stride + 1 if reach >= 0 else np.int64(0), out_size)
    return first, max(first, last)


@inline
def _fill_table(table, kh0, kh1, kw0, kw1, row_step, column_step, weight_row, weight_column):
    # table: int64 (taps, 2), see _depthwise_tile; returns the number of taps
    count = np.int64(0)
    for kh in range(kh0, kh1):
        for kw in range(kw0, kw1):
            table[2 * count] = kh * row_step + kw * column_step
            table[2 * count + 1] = kh * weight_row + kw * weight_column
            count += 1
    return count


@kernel
def _expand(x, pixel_bytes, height, width, top, rows, first, count, multiplier, to):
    # to: float32 (rows, width, count): channels first..first+count-1 of the output's, each the input's o // multiplier
    band = f32_view(to, rows * width * count)
    for r in range(rows):
        y = top + r
        if y < 0 or y >= height:
            continue
        for i in range(width):
            pixel = f32_view(x + (y * width + i) * pixel_bytes, (first + count - 1) // multiplier + 1)
            for c in range(count):
                band[(r * width + i) * count + c] = pixel[(first + c) // multiplier]


@kernel
def _depthwise_task(op, index, scratch):
    # op words from ARGS on: see depthwise_f32_op
    args = words(op, program.WORDS)[program.ARGS :]
    x, height, width, pixel_bytes, multiplier = args[0], args[1], args[2], args[3], args[4]
    out, out_height, out_width, out_stride, channels = args[5], args[6], args[7], args[8], args[9]
    weights, bias, activation = args[10], args[11], args[12]
    kernel_h, kernel_w, stride_h, stride_w = args[13], args[14], args[15], args[16]
    pad_top, pad_left, dilation_h, dilation_w = args[17], args[18], args[19], args[20]
    band_rows, bands, blocks, block = args[21], args[22], args[23], args[24]

    c = index % blocks * block
    count = min(block, channels - c)
    y0 = index // blocks % bands * band_rows
    y1 = min(y0 + band_rows, out_height)
    image = index // blocks // bands
    source = x + image * height * width * pixel_bytes
    if multiplier > 1:
        top = y0 * stride_h - pad_top
        rows = (y1 - 1 - y0) * stride_h + (kernel_h - 1) * dilation_h + 1
        band = scratch + 32 * kernel_h * kernel_w
        _expand(source, pixel_bytes, height, width, top, rows, c, count, multiplier, band)
        pixel_bytes = 4 * count
        source = band - top * width * pixel_bytes
    else:
        source += 4 * c
    row_bytes = width * pixel_bytes
    step = stride_w * pixel_bytes
    row_step, column_step = dilation_h * row_bytes, dilation_w * pixel_bytes
    weight_column = 4 * channels
    weight_row = kernel_w * weight_column
    panel, panel_bias = weights + 4 * c, bias + 4 * c
    # Two tables of taps: all columns of the kernel, and those that an output at the border sees.
    table, border_table = scratch, scratch + 16 * kernel_h * kernel_w
    inside0, inside1 = _inside_range(kernel_w, stride_w, pad_left, dilation_w, width, out_width)
    blocked = inside1 - inside0 >= 4 and count >= _PAIR
    for y in range(y0, y1):
        top = y * stride_h - pad_top
        kh0, kh1 = _tap_range(top, dilation_h, kernel_h, height)
        row = source + top * row_bytes
        to = out + (image * out_height + y) * out_width * out_stride + 4 * c
        taps = _fill_table(words(table, 2 * kernel_h * kernel_w), kh0, kh1, np.int64(0), kernel_w, row_step,
                           column_step, weight_row, weight_column)  # fmt: skip
        column = np.int64(0)
        while column < out_width:
            inside = inside0 <= column < inside1
            if blocked and inside:
                column = min(column, inside1 - 4)
                at = row + (column * stride_w - pad_left) * pixel_bytes
                _run_block(
                    at, step, table, taps, panel, panel_bias, to + column * out_stride, out_stride, activation, count
                )
                column += 4
                continue
            left = column * stride_w - pad_left
            kw0, kw1 = _tap_range(left, dilation_w, kernel_w, width)
            seen = _fill_table(words(border_table, 2 * kernel_h * kernel_w), kh0, kh1, kw0, kw1, row_step, column_step,
                               weight_row, weight_column)  # fmt: skip
            at = row + left * pixel_bytes
            _run_pixel(at, border_table, seen, panel, panel_bias, to + column * out_stride, activation, count)
            column += 1


def depthwise_f32_op(
    x: np.ndarray, packed: PackedDepthwise, geometry: ConvGeometry, activation: int, out: np.ndarray
) -> np.ndarray:
    """The op of a depthwise convolution; see :func:`depthwise_f32`. The arrays must stay alive."""
    images, height, width, channels = x.shape
    _, out_height, out_width, out_channels = out.shape
    blocks = -(-out_channels // _BLOCK)
    # Blocks of equal size, whole vectors.
    block = -(-out_channels // (blocks * _LANES)) * _LANES
    blocks = -(-out_channels // block)
    bands = max(1, min(out_height, -(-8 // (images * blocks))))
    band_rows = -(-out_height // bands)
    bands = -(-out_height // band_rows)
    multiplier = out_channels // channels
    scratch = 32 * geometry.kernel_h * geometry.kernel_w
    if multiplier > 1:
        rows = (band_rows - 1) * geometry.stride_h + (geometry.kernel_h - 1) * geometry.dilation_h + 1
        scratch += rows * width * block * 4
    address = program.data_address
    args = [
        address(x), height, width, pixel_stride(x) * 4, multiplier,
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
