"""What fp32 and int8 pooling share: the windows, the walk over them, and how the work is cut into tasks."""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.conv_rows import rows_a_task
from tnnquant.kernels.geometry import PoolGeometry, pixel_stride
from tnnquant.kernels.jit import Kernel, inline
from tnnquant.kernels.simd import I64, load_words
from tnnquant.kernels.target import isa

__all__ = ["ADAPTIVE_AVERAGE", "AVERAGE", "MAX", "each_window", "emit_window", "pool_op", "pool_window"]

#: Kinds of pooling; 0 and 1 are TNN's pool_type.
MAX, AVERAGE, ADAPTIVE_AVERAGE = 0, 1, 2
# With fewer rows of outputs the channels are shared out too, in blocks of at least so many bytes.
_FEW_ROWS, _FEW_BYTES = 4, 16 * isa().lanes


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


@inline
def each_window(op, index, element, reduce):
    """The windows of one task of an op of :func:`pool_op`; ``element``: bytes of a value, int64.

    ``reduce(x, rows, columns, row_bytes, pixel_bytes, out, channels, kind)``, a compiled function, makes one pixel of
    the output: addresses of the first pixel of the window and of the result, sizes (negative for an empty window) and
    byte steps, all int64.
    """
    (x, height, width, pixel_bytes, out, out_height, out_width, out_stride, channels, kernel_h, kernel_w, stride_h,
     stride_w, pad_top, pad_left, kind, blocks, block, rows, band) = load_words(op + 8 * program.ARGS, 20)  # fmt: skip

    c = index % blocks * block
    count = min(block, channels - c)
    row_bytes = width * pixel_bytes
    for row in range(index // blocks * band, min((index // blocks + 1) * band, rows)):
        image, y = row // out_height, row % out_height
        h0, h1 = pool_window(y, kernel_h, stride_h, pad_top, height, out_height, kind)
        source = x + (image * height + h0) * row_bytes + element * c
        to = out + row * out_width * out_stride + element * c
        for column in range(out_width):
            w0, w1 = pool_window(column, kernel_w, stride_w, pad_left, width, out_width, kind)
            reduce(source + w0 * pixel_bytes, h1 - h0, w1 - w0, row_bytes, pixel_bytes, to + column * out_stride, count,
                   kind)  # fmt: skip


def pool_op(task: Kernel, x: np.ndarray, geometry: PoolGeometry, kind: int, out: np.ndarray) -> np.ndarray:
    """The op of a pooling whose ``task`` calls :func:`each_window`.

    Parameters
    ----------
    task : kernel of signature (op, index, scratch)
    x : float32 or int8 (N, H, W, C)
        C-contiguous, or a slice of channels of such an array.
    geometry : PoolGeometry
        Not read for :data:`ADAPTIVE_AVERAGE`.
    kind : int
        :data:`MAX`, :data:`AVERAGE` or :data:`ADAPTIVE_AVERAGE`.
    out : (N, OH, OW, C), of the type of ``x``
        C-contiguous or a slice of channels.

    Returns
    -------
    int64 (1, WORDS)
        The arrays must stay alive.
    """
    _, height, width, channels = x.shape
    images, out_height, out_width, _ = out.shape
    rows, blocks, size = images * out_height, 1, x.itemsize
    if rows < _FEW_ROWS:
        blocks = max(1, min(8, channels * size // _FEW_BYTES))
    block, band = -(-channels // blocks), rows_a_task(rows)
    blocks, address = -(-channels // block), program.data_address
    args = [
        address(x), height, width, pixel_stride(x) * size,
        address(out), out_height, out_width, pixel_stride(out) * size, channels,
        *geometry,
        kind, blocks, block, rows, band,
    ]  # fmt: skip
    return program.new_op(task, -(-rows // band) * blocks, 0, args)
