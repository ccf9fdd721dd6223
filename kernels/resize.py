"""Resize of 8-bit pictures with the filters of TNN's tool: Catmull-Rom to enlarge, Mitchell to shrink, edges clamped.

A picture is filtered horizontally, then vertically, in float32 and in a fixed order, so that the pixels are those of
TNN (docs/tnn-format.md, 7.3.1), bit for bit. What is computed once per axis, :func:`axis_taps`, is NumPy; the rest is
compiled.

Versions, slowest first, with the time of 500x375 RGB to 227x227 on one thread of an AMD EPYC (AVX2):
:func:`resize_u8_naive`, one sum per output element and pass, 3.9 ms; :func:`resize_u8`, 0.74 ms, one picture row at a
time: it is filtered horizontally, one vector per pixel, and added at once to the few output rows it takes part in, so
that it needs no memory for the filtered picture. Both are serial: pictures are decoded on several threads, and each
calls these for its own picture (parallel kernels must not be called from several threads at once).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import config, types
from numba.extending import intrinsic

from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import F32, I64, Emitter

__all__ = ["axis_taps", "resize_u8", "resize_u8_naive"]

#: First input pixel of each output, and the weights from there on; see :func:`axis_taps`.
Taps = tuple[np.ndarray, np.ndarray]

_ONE = np.float32(1)
_HALF = np.float32(0.5)


def _catmull_rom(x: np.ndarray) -> np.ndarray:
    """Catmull-Rom spline of ``|x|``, float32, in the order of operations of TNN's tool."""
    x = np.abs(x)
    f = np.float32
    near = f(1) - (x * x) * (f(2.5) - f(1.5) * x)
    far = f(2) - x * (f(4) + x * (f(0.5) * x - f(2.5)))
    return np.where(x < 1, near, np.where(x < 2, far, f(0)))


def _mitchell(x: np.ndarray) -> np.ndarray:
    """Mitchell-Netravali filter (B = C = 1/3) of ``|x|``, float32, in the order of operations of TNN's tool."""
    x = np.abs(x)
    f = np.float32
    near = (f(16) + (x * x) * (f(21) * x - f(36))) / f(18)
    far = (f(32) + x * (f(-60) + x * (f(36) - f(7) * x))) / f(18)
    return np.where(x < 1, near, np.where(x < 2, far, f(0)))


def _floor(x: np.ndarray, shift: float) -> np.ndarray:
    return np.floor(x.astype(np.float64) + shift).astype(np.int64)


def _enlarging_taps(scale: np.float32, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre = outputs.astype(np.float32) + _HALF
    radius = np.float32(2) * scale
    first = _floor((centre - radius) / scale, 0.5)
    last = _floor((centre + radius) / scale, -0.5)
    pixel = first[:, None] + np.arange((last - first).max() + 1)
    weights = _catmull_rom((centre / scale)[:, None] - (pixel.astype(np.float32) + _HALF))
    return first, np.where(pixel <= last[:, None], weights, np.float32(0))


def _shrinking_taps(scale: np.float32, in_size: int, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Here every input pixel, and a margin of repeated edge pixels, spreads to the outputs around its centre.
    radius = np.float32(2) / scale
    margin = int(np.ceil(np.float32(4) / scale)) // 2
    pixels = np.arange(-margin, in_size + margin)
    centre = pixels.astype(np.float32) + _HALF
    spread_first = _floor((centre - radius) * scale, 0.5)
    spread_last = _floor((centre + radius) * scale, -0.5)
    # Both rise with the pixel, so the pixels that reach an output are neighbours.
    low = np.searchsorted(spread_last, outputs, "left")
    high = np.searchsorted(spread_first, outputs, "right")
    at = low[:, None] + np.arange((high - low).max())
    inside = at < high[:, None]
    target = outputs.astype(np.float32)[:, None] + _HALF
    weights = _mitchell(target - (centre * scale)[np.minimum(at, pixels.size - 1)]) * scale
    return pixels[np.minimum(low, pixels.size - 1)], np.where(inside, weights, np.float32(0))


@lru_cache(maxsize=64)
def axis_taps(in_size: int, out_size: int, start: int = 0, stop: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The filter of one axis: which input pixels make an output pixel, and with what weights.

    Parameters
    ----------
    in_size, out_size : int
        Pixels along the axis.
    start, stop : int
        The outputs wanted; all by default.

    Returns
    -------
    first : int64 (O,)
        The first input pixel of each output; it and its followers may lie outside 0..in_size-1: take the edge pixel.
    weights : float32 (O, T)
        Of pixels ``first .. first + T - 1``, 0 where there are fewer. They add to about 1.

    Notes
    -----
    With ``s = f32(out_size / in_size)``: Catmull-Rom of ``o / s - i`` where s > 1, else Mitchell of ``o - i * s`` times
    s; the centres i, o of pixels lie at +0.5; then divided by their sum (added in ascending order, times its
    reciprocal). An axis that keeps its size is blurred by Mitchell: 1/18, 16/18, 1/18. docs/tnn-format.md, 7.3.1.
    The result is shared: do not change it.
    """
    outputs = np.arange(start, out_size if stop is None else stop)
    scale = np.float32(out_size) / np.float32(in_size)
    if scale > 1:
        first, weights = _enlarging_taps(scale, outputs)
    else:
        first, weights = _shrinking_taps(scale, in_size, outputs)
    total = np.zeros(outputs.size, np.float32)
    for tap in range(weights.shape[1]):
        total += weights[:, tap]
    return first, np.ascontiguousarray(weights * (_ONE / total)[:, None])


@kernel
def _resize_naive(pixels, x_first, x_weights, y_first, y_weights, out):
    # pixels: uint8 (H, W, C); x_first: int64 (OW,); x_weights: float32 (OW, XT); y_first: int64 (OH,);
    # y_weights: float32 (OH, YT); out: uint8 (OH, OW, C)
    height, width, channels = pixels.shape
    wide = np.empty((height, out.shape[1], channels), np.float32)
    for y in range(height):
        for x in range(out.shape[1]):
            for c in range(channels):
                total = np.float32(0)
                for tap in range(x_weights.shape[1]):
                    column = min(max(x_first[x] + tap, 0), width - 1)
                    total += np.float32(pixels[y, column, c]) / np.float32(255) * x_weights[x, tap]
                wide[y, x, c] = total
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for c in range(channels):
                total = np.float32(0)
                for tap in range(y_weights.shape[1]):
                    row = min(max(y_first[y] + tap, 0), height - 1)
                    total += wide[row, x, c] * y_weights[y, tap]
                clamped = min(max(total, np.float32(0)), np.float32(1)) * np.float32(255)
                out[y, x, c] = np.uint8(np.int32(np.float64(clamped) + 0.5))


@kernel
def resize_u8_naive(pixels, x_taps, y_taps, out):
    # pixels: uint8 (H, W, C); x_taps, y_taps: tuple of int64 (O,), float32 (O, T); out: uint8
    # (OH, OW, C). Holds the horizontally filtered picture.
    x_first, x_weights = x_taps
    y_first, y_weights = y_taps
    _resize_naive(pixels, x_first, x_weights, y_first, y_weights, out)
    return out


@intrinsic
def _filter_row(typingctx, source, first, weights, taps, outputs, channels, line):
    """One row, horizontally: ``line[x] = sum over t of weights[x, t] * source[first[x] + t]``, t ascending.

    Addresses (of float32 pixels, int64, float32, float32 pixels) and sizes, all int64. A pixel is ``channels`` <= 4
    float32 next to each other; it is read and written as a vector of four::

        source  r0 g0 b0 r1 g1 b1 ...    read at pixel 0: r0 g0 b0 (r1), at pixel 1: r1 g1 b1 (r2)
        line    R0 G0 B0 (..)            the lanes in brackets are overwritten by the next pixel

    so three float32 after the end of both must exist.
    """
    if (source, first, weights, taps, outputs, channels, line) != (types.int64,) * 7:
        return None

    def codegen(context, builder, sig, args):
        source, first, weights, taps, outputs, channels, line = args
        emit = Emitter(builder, 4)
        pixel_bytes = builder.mul(channels, I64(4))
        total = emit.variable(emit.constant(0.0))
        with emit.loop(outputs) as x:
            start = emit.load_scalar(emit.at(emit.pointer(first, I64), x), I64)
            pixel = builder.add(source, builder.mul(start, pixel_bytes))
            weight = emit.at(emit.pointer(weights, F32), builder.mul(x, taps))
            builder.store(emit.constant(0.0), total)
            with emit.loop(taps) as tap:
                value = emit.load(emit.pointer(builder.add(pixel, builder.mul(tap, pixel_bytes)), F32))
                # Two roundings, as TNN's code on x86-64: never a fused multiply-add.
                product = builder.fmul(value, emit.splat(builder.load(emit.at(weight, tap))))
                builder.store(builder.fadd(builder.load(total), product), total)
            emit.store(builder.load(total), emit.pointer(builder.add(line, builder.mul(x, pixel_bytes)), F32))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen


@kernel
def _resize(pixels, left, right, x_first, x_weights, y_first, y_weights, padded, line, sums, out):
    # pixels: uint8 (H, W, C); left, right: int, pixels repeated beyond the edges; x_first: int64 (OW,), rising;
    # x_weights: float32 (OW, XT); y_first: int64 (OH,), rising; y_weights: float32 (OH, YT);
    # padded: float32 ((left + W + right) * C + 3,); line: float32 (OW * C + 3,); sums: float32 (OH, OW * C), zeros;
    # out: uint8 (OH, OW, C)
    height, width, channels = pixels.shape
    out_height, out_width, _ = out.shape
    rows = pixels.reshape(height, width * channels)
    middle = padded[left * channels : (left + width) * channels]
    tail = padded[(left + width) * channels :]
    origin = np.int64(padded.ctypes.data) + np.int64(4 * left * channels)
    done, low = -1, 0
    for y in range(y_first[0], y_first[out_height - 1] + y_weights.shape[1]):
        row = min(max(y, 0), height - 1)
        if row != done:
            # Rows beyond the edges are the edge row, whose line is still there.
            done = row
            for i in range(width * channels):
                middle[i] = np.float32(rows[row, i]) / np.float32(255)
            for x in range(left):
                for c in range(channels):
                    padded[x * channels + c] = middle[c]
            for x in range(right):
                for c in range(channels):
                    tail[x * channels + c] = middle[(width - 1) * channels + c]
            _filter_row(origin, np.int64(x_first.ctypes.data), np.int64(x_weights.ctypes.data),
                        np.int64(x_weights.shape[1]), np.int64(out_width), np.int64(channels),
                        np.int64(line.ctypes.data))  # fmt: skip
        # Each output row receives its picture rows in ascending order: the naive sum, taken apart.
        while low < out_height and y_first[low] + y_weights.shape[1] <= y:
            low += 1
        target = low
        while target < out_height and y_first[target] <= y:
            weight = y_weights[target, y - y_first[target]]
            for i in range(out_width * channels):
                sums[target, i] += line[i] * weight
            target += 1
    values, levels = sums.reshape(-1), out.reshape(-1)
    for i in range(values.size):
        clamped = min(max(values[i], np.float32(0)), np.float32(1)) * np.float32(255)
        levels[i] = np.uint8(np.int32(np.float64(clamped) + 0.5))


def resize_u8(pixels: np.ndarray, x_taps: Taps, y_taps: Taps, out: np.ndarray) -> np.ndarray:
    """Resize a picture of 1 to 4 channels.

    Parameters
    ----------
    pixels : uint8 (H, W, C)
        C-contiguous, C <= 4.
    x_taps, y_taps : pair of arrays
        :func:`axis_taps` from W and from H.
    out : uint8 (OH, OW, C)
        C-contiguous; written.

    Returns
    -------
    ndarray
        ``out``.

    Notes
    -----
    ``out = floor(255 * clamp(sum_y wy * sum_x wx * (pixel / 255), 0, 1) + 0.5)``, in float32 up to the product with
    255, sums ascending from 0, no fused multiply-add. docs/tnn-format.md, 7.3.1.
    """
    if config.DISABLE_JIT:  # the vector code exists only compiled
        resize_u8_naive(pixels, x_taps, y_taps, out)
        return out
    (x_first, x_weights), (y_first, y_weights) = x_taps, y_taps
    width, channels = pixels.shape[1:]
    left = max(0, -int(x_first[0]))
    right = max(0, int(x_first[-1]) + x_weights.shape[1] - width)
    padded = np.empty((left + width + right) * channels + 3, np.float32)
    line = np.empty(out.shape[1] * channels + 3, np.float32)
    sums = np.zeros((out.shape[0], out.shape[1] * channels), np.float32)
    _resize(pixels, left, right, x_first, x_weights, y_first, y_weights, padded, line, sums, out)
    return out
