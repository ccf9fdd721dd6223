"""fp32 pooling of channels-last images, vectorized over channels.

Versions, slowest first: :func:`pool2d_f32_naive`, TNN's loops; :func:`pool2d_f32`, four vectors of channels a window at
a time, the window's rows and columns in TNN's order, so that averages have TNN's bits.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.conv_rows import rows_a_task
from tnnquant.kernels.geometry import PoolGeometry, pixel_stride
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.simd import F32, I64, load_words, sweep
from tnnquant.kernels.target import isa

__all__ = [
    "ADAPTIVE_AVERAGE",
    "AVERAGE",
    "MAX",
    "emit_window",
    "pool2d_f32",
    "pool2d_f32_naive",
    "pool2d_f32_op",
    "pool_window",
]

#: Kinds of pooling; 0 and 1 are TNN's pool_type.
MAX, AVERAGE, ADAPTIVE_AVERAGE = 0, 1, 2
_LANES = isa().lanes
_LOWEST = float(np.finfo(np.float32).min)


@inline
def pool_window(position, kernel_size, stride, pad, size, out_size, kind):
    """Start and stop of a window along one axis; its length (for the divisor) is their difference, which may be
    negative.

    Adaptive windows are ``floor(f32(o * in) / out) .. ceil(f32((o + 1) * in) / out)`` with float32 divisions; the
    others are cut to the image, the stop being computed before the start is.
    """
    if kind == ADAPTIVE_AVERAGE:
        start = np.int64(np.floor(np.float32(position * size) / np.float32(out_size)))
        return start, np.int64(np.ceil(np.float32((position + 1) * size) / np.float32(out_size)))
    start = position * stride - pad
    stop = min(start + kernel_size, size)
    return max(start, np.int64(0)), stop


@kernel
def pool2d_f32_naive(x, geometry, kind, out):
    # x: float32 (N, H, W, C); geometry: PoolGeometry; kind: int; out: float32 (N, OH, OW, C)
    kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left = geometry
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            h0, h1 = pool_window(y, kernel_h, stride_h, pad_top, x.shape[1], out.shape[1], kind)
            for column in range(out.shape[2]):
                w0, w1 = pool_window(column, kernel_w, stride_w, pad_left, x.shape[2], out.shape[2], kind)
                for c in range(out.shape[3]):
                    if kind == MAX:
                        best = np.float32(_LOWEST)
                        for iy in range(h0, h1):
                            for ix in range(w0, w1):
                                best = x[n, iy, ix, c] if x[n, iy, ix, c] > best else best
                        out[n, y, column, c] = best if h0 < h1 and w0 < w1 else np.float32(0)
                        continue
                    total = np.float32(0)
                    for iy in range(h0, h1):
                        for ix in range(w0, w1):
                            total += x[n, iy, ix, c]
                    if kind == ADAPTIVE_AVERAGE:
                        out[n, y, column, c] = total / np.float32(h1 - h0) / np.float32(w1 - w0)
                    else:
                        out[n, y, column, c] = total / np.float32((h1 - h0) * (w1 - w0))


def emit_window(emit, x, rows, columns, row_bytes, pixel_bytes, initial, step):
    """``step(pixel, total)`` for all pixels of a window in order, total being ``initial`` at first; the last total.

    int64 values: address of the first pixel, sizes, byte steps. Pixels come as pointers to bytes. 3 x 3, the usual
    window, is written out: its loops would take as long as what they do.
    """
    builder, total = emit.builder, emit.variable(initial)

    def at(r, c):
        row = builder.add(x, builder.mul(r, row_bytes))
        builder.store(step(emit.pointer(builder.add(row, builder.mul(c, pixel_bytes))), builder.load(total)), total)

    three = I64(3)
    is_usual = builder.and_(builder.icmp_signed("==", rows, three), builder.icmp_signed("==", columns, three))
    with builder.if_else(is_usual) as (usual, other):
        with usual:
            for r in range(3):
                for c in range(3):
                    at(I64(r), I64(c))
        with other, emit.loop(rows) as r, emit.loop(columns) as c:
            at(r, c)
    return builder.load(total)


@intrinsic
def _reduce_window(typingctx, x, rows, columns, row_bytes, pixel_bytes, out, channels, is_max, by, by2):
    """Maximum or average of one window for all channels.

    Addresses, sizes and byte steps int64; the divisors by and by2 float32: a maximum ignores them, a sum is divided by
    one, then the other.
    """

    def codegen(context, builder, sig, args):
        x, rows, columns, row_bytes, pixel_bytes, out, channels, is_max, by, by2 = args

        def reduce(emit, at, initial, step):
            def add(pixel, total):
                return step(emit, emit.load(emit.at(emit.pointer(builder.ptrtoint(pixel, I64), F32), at)), total)

            return emit_window(emit, x, rows, columns, row_bytes, pixel_bytes, emit.constant(initial), add)

        def maximum(emit, at):
            value = reduce(emit, at, _LOWEST, lambda emit, new, best: emit.larger(new, best))
            emit.store(value, emit.at(emit.pointer(out, F32), at))

        def average(emit, at):
            total = reduce(emit, at, 0.0, lambda emit, new, total: builder.fadd(total, new))
            value = builder.fdiv(builder.fdiv(total, emit.splat(by)), emit.splat(by2))
            emit.store(value, emit.at(emit.pointer(out, F32), at))

        widths = (4 * _LANES, _LANES)
        with builder.if_else(builder.icmp_signed("!=", is_max, is_max.type(0))) as (is_maximum, is_average):
            with is_maximum:
                sweep(builder, channels, widths, F32, maximum)
            with is_average:
                sweep(builder, channels, widths, F32, average)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8, types.float32, types.float32), codegen


@kernel
def _pool_row(source, row_bytes, h0, h1, width, pixel_bytes, to, out_width, out_stride, channels, kernel_w, stride_w,
              pad_left, kind):  # fmt: skip
    # One row of outputs at ``to``; source: address of input row h0
    is_max = np.int64(kind == MAX)
    for column in range(out_width):
        w0, w1 = pool_window(column, kernel_w, stride_w, pad_left, width, out_width, kind)
        rows, columns = h1 - h0, w1 - w0
        by, by2 = np.float32(rows * columns), np.float32(1)
        if kind == ADAPTIVE_AVERAGE:
            by, by2 = np.float32(rows), np.float32(columns)
        to_pixel = to + column * out_stride
        if is_max and (rows <= 0 or columns <= 0):
            # The maximum of an empty window is 0: an average of no values, 0 / 1.
            rows, columns, how = np.int64(0), np.int64(0), np.int64(0)
            by, by2 = np.float32(1), np.float32(1)
        else:
            how = is_max
        _reduce_window(source + w0 * pixel_bytes, max(rows, np.int64(0)), max(columns, np.int64(0)), row_bytes,
                       pixel_bytes, to_pixel, channels, how, by, by2)  # fmt: skip


@kernel
def _pool_task(op, index, scratch):
    # op words from ARGS on: see pool2d_f32_op
    (x, height, width, pixel_bytes, out, out_height, out_width, out_stride, channels, kernel_h, kernel_w, stride_h,
     stride_w, pad_top, pad_left, kind, blocks, block, rows, band) = load_words(op + 8 * program.ARGS, 20)  # fmt: skip

    c = index % blocks * block
    count = min(block, channels - c)
    row_bytes = width * pixel_bytes
    for row in range(index // blocks * band, min((index // blocks + 1) * band, rows)):
        image, y = row // out_height, row % out_height
        h0, h1 = pool_window(y, kernel_h, stride_h, pad_top, height, out_height, kind)
        source = x + (image * height + h0) * row_bytes + 4 * c
        _pool_row(source, row_bytes, h0, h1, width, pixel_bytes, out + row * out_width * out_stride + 4 * c, out_width,
                  out_stride, count, kernel_w, stride_w, pad_left, kind)  # fmt: skip


def pool2d_f32_op(x: np.ndarray, geometry: PoolGeometry, kind: int, out: np.ndarray) -> np.ndarray:
    """The op of a pooling; see :func:`pool2d_f32`. The arrays must stay alive."""
    _, height, width, channels = x.shape
    images, out_height, out_width, _ = out.shape
    rows, blocks = images * out_height, 1
    if rows < 4:
        blocks = max(1, min(8, channels // (4 * _LANES)))
    block, band = -(-channels // blocks), rows_a_task(rows)
    blocks, address = -(-channels // block), program.data_address
    args = [
        address(x), height, width, pixel_stride(x) * 4,
        address(out), out_height, out_width, pixel_stride(out) * 4, channels,
        *geometry,
        kind, blocks, block, rows, band,
    ]  # fmt: skip
    return program.new_op(_pool_task, -(-rows // band) * blocks, 0, args)


def pool2d_f32(x: np.ndarray, geometry: PoolGeometry, kind: int, out: np.ndarray) -> np.ndarray:
    """Pooling with TNN's window rules: padding is never counted.

    Parameters
    ----------
    x : float32 (N, H, W, C)
        C-contiguous, or a slice of channels of such an array.
    geometry : PoolGeometry
        For :data:`ADAPTIVE_AVERAGE` not read: the windows follow from the sizes.
    kind : int
        :data:`MAX` (an empty window gives 0), :data:`AVERAGE` (sum / window size; an empty window gives NaN or 0 as in
        TNN) or :data:`ADAPTIVE_AVERAGE` (sum / rows / columns).
    out : float32 (N, OH, OW, C)
        Written and returned; C-contiguous or a slice of channels.
    """
    program.run(pool2d_f32_op(x, geometry, kind, out))
    return out
