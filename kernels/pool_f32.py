"""fp32 pooling of channels-last images, vectorized over channels.

Versions, slowest first: :func:`pool2d_f32_naive`, TNN's loops; :func:`pool2d_f32`, four vectors of channels of a window
at a time, the window's rows and columns in TNN's order, so that averages have TNN's bits.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.geometry import PoolGeometry
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.pool_window import ADAPTIVE_AVERAGE, AVERAGE, MAX, each_window, emit_window, pool_op, pool_window
from tnnquant.kernels.simd import F32, I64, sweep
from tnnquant.kernels.target import isa

__all__ = ["ADAPTIVE_AVERAGE", "AVERAGE", "MAX", "pool2d_f32", "pool2d_f32_naive", "pool2d_f32_op"]

_LANES = isa().lanes
_LOWEST = float(np.finfo(np.float32).min)


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
def _window(x, rows, columns, row_bytes, pixel_bytes, out, channels, kind):
    # One window, see each_window
    is_max = np.int64(kind == MAX)
    by, by2 = np.float32(rows * columns), np.float32(1)
    if kind == ADAPTIVE_AVERAGE:
        by, by2 = np.float32(rows), np.float32(columns)
    if is_max and (rows <= 0 or columns <= 0):
        # The maximum of an empty window is 0: an average of no values, 0 / 1.
        rows, columns, is_max = np.int64(0), np.int64(0), np.int64(0)
        by, by2 = np.float32(1), np.float32(1)
    _reduce_window(x, max(rows, np.int64(0)), max(columns, np.int64(0)), row_bytes, pixel_bytes, out, channels, is_max,
                   by, by2)  # fmt: skip


@kernel
def _pool_task(op, index, scratch):
    # op: see pool_op
    each_window(op, index, np.int64(4), _window)


def pool2d_f32_op(x: np.ndarray, geometry: PoolGeometry, kind: int, out: np.ndarray) -> np.ndarray:
    """The op of a pooling; see :func:`pool2d_f32`. The arrays must stay alive."""
    return pool_op(_pool_task, x, geometry, kind, out)


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
