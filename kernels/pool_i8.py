"""int8 pooling of channels-last images with TNN's rules (docs/tnn-format.md, 6.5): no rescaling, zero points not
considered.

Versions, slowest first: :func:`pool2d_i8_naive`, TNN's loops; :func:`pool2d_i8`, the maximum over vectors of up to
128 channels; the average, which TNN's tool never quantizes, in plain loops.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.geometry import PoolGeometry
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.pool_window import AVERAGE, MAX, each_window, emit_window, pool_op, pool_window
from tnnquant.kernels.simd import I8, i8_view, sweep

__all__ = ["AVERAGE", "MAX", "pool2d_i8", "pool2d_i8_naive", "pool2d_i8_op"]


@inline
def _quotient(total, count):
    # C division, toward zero; TNN divides by zero for an empty window, here it is 0.
    if count == 0:
        return np.int32(0)
    magnitude = abs(total) // abs(count)
    return np.int32(magnitude if (total >= 0) == (count > 0) else -magnitude)


@kernel
def pool2d_i8_naive(x, geometry, kind, out):
    # x: int8 (N, H, W, C); geometry: PoolGeometry; kind: int; out: int8 (N, OH, OW, C)
    kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left = geometry
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            h0, h1 = pool_window(y, kernel_h, stride_h, pad_top, x.shape[1], out.shape[1], AVERAGE)
            for column in range(out.shape[2]):
                w0, w1 = pool_window(column, kernel_w, stride_w, pad_left, x.shape[2], out.shape[2], AVERAGE)
                for c in range(out.shape[3]):
                    best, total = np.int32(-127), np.int64(0)
                    for iy in range(h0, h1):
                        for ix in range(w0, w1):
                            best = max(best, np.int32(x[n, iy, ix, c]))
                            total += x[n, iy, ix, c]
                    empty = h0 >= h1 or w0 >= w1
                    if kind == MAX:
                        out[n, y, column, c] = np.int32(0) if empty else best
                    else:
                        out[n, y, column, c] = _quotient(total, (h1 - h0) * (w1 - w0))


@intrinsic
def _maximum(typingctx, x, rows, columns, row_bytes, pixel_bytes, out, channels):
    """The maximum of one window, not below -127, for all channels. Addresses, sizes and byte steps, all int64."""

    def codegen(context, builder, sig, args):
        x, rows, columns, row_bytes, pixel_bytes, out, channels = args

        def body(emit, at):
            def larger(pixel, old):
                value = emit.load(emit.at(pixel, at))
                return builder.select(builder.icmp_signed(">", value, old), value, old)

            best = emit_window(emit, x, rows, columns, row_bytes, pixel_bytes, emit.constant(-127), larger)
            emit.store(best, emit.at(emit.pointer(out), at))

        sweep(builder, channels, (64, 16), I8, body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen


@kernel
def _window(x, rows, columns, row_bytes, pixel_bytes, out, channels, kind):
    # One window, see each_window
    if kind == MAX and rows > 0 and columns > 0:
        _maximum(x, rows, columns, row_bytes, pixel_bytes, out, channels)
        return
    for c in range(channels):
        total = np.int64(0)
        for r in range(rows):
            for i in range(columns):
                total += i8_view(x + r * row_bytes + i * pixel_bytes + c, 1)[0]
        # Of an empty window without a value: 0 for a maximum too.
        i8_view(out + c, 1)[0] = _quotient(total, rows * columns)


@kernel
def _pool_task(op, index, scratch):
    # op: see pool_op
    each_window(op, index, np.int64(1), _window)


def pool2d_i8_op(x: np.ndarray, geometry: PoolGeometry, kind: int, out: np.ndarray) -> np.ndarray:
    """The op of a quantized pooling; see :func:`pool2d_i8`. The arrays must stay alive."""
    return pool_op(_pool_task, x, geometry, kind, out)


def pool2d_i8(x: np.ndarray, geometry: PoolGeometry, kind: int, out: np.ndarray) -> np.ndarray:
    """Pooling of quantized values; input and output share scale and zero point.

    Parameters
    ----------
    x : int8 (N, H, W, C)
        C-contiguous, or a slice of channels of such an array.
    geometry : PoolGeometry
        Also for adaptive layers: TNN runs the ordinary kernel on int8.
    kind : int
        MAX (starts from -127, so -128 becomes -127; an empty window gives 0) or AVERAGE (sum / window size, truncated).
    out : int8 (N, OH, OW, C)
        Written and returned; C-contiguous or a slice of channels.
    """
    program.run(pool2d_i8_op(x, geometry, kind, out))
    return out
