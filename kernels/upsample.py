"""Bilinear resize of channels-last images, fp32.

Versions, slowest first: :func:`bilinear_f32_naive`, the formula pixel by pixel; :func:`bilinear_f32`, the same
operations in the same order, vectorized over channels, output rows on all threads. Both give the same bits.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.geometry import pixel_stride
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import f32_view, words

__all__ = ["bilinear_f32", "bilinear_f32_naive", "bilinear_f32_op"]


@kernel
def bilinear_f32_naive(x, rows, row_weights, columns, column_weights, out):
    # x: float32 (N, H, W, C); rows: int64 (OH, 2); row_weights: float32 (OH, 2); columns: int64 (OW, 2);
    # column_weights: float32 (OW, 2); out: float32 (N, OH, OW, C)
    for n in range(out.shape[0]):
        for oy in range(out.shape[1]):
            top, bottom = rows[oy]
            for ox in range(out.shape[2]):
                left, right = columns[ox]
                for c in range(out.shape[3]):
                    above = column_weights[ox, 0] * x[n, top, left, c] + column_weights[ox, 1] * x[n, top, right, c]
                    below = (
                        column_weights[ox, 0] * x[n, bottom, left, c] + column_weights[ox, 1] * x[n, bottom, right, c]
                    )
                    out[n, oy, ox, c] = row_weights[oy, 0] * above + row_weights[oy, 1] * below


@kernel
def _bilinear_task(op, index, scratch):
    # op words from ARGS on: see bilinear_f32
    args = words(op, program.WORDS)[program.ARGS :]
    x, height, width, channels, out, out_height, out_width = (
        args[0], args[1], args[2], args[3], args[4], args[5], args[6],
    )  # fmt: skip
    pixel_bytes, out_bytes = args[11], args[12]
    oy = index % out_height
    row_bytes = width * pixel_bytes
    image = x + index // out_height * height * row_bytes
    rows, weights = words(args[7], 2 * out_height), f32_view(args[8], 2 * out_height)
    columns, column_weights = words(args[9], 2 * out_width), f32_view(args[10], 2 * out_width)
    top, bottom = image + rows[2 * oy] * row_bytes, image + rows[2 * oy + 1] * row_bytes
    upper, lower = weights[2 * oy], weights[2 * oy + 1]
    to = out + index * out_width * out_bytes
    for ox in range(out_width):
        left, right = columns[2 * ox] * pixel_bytes, columns[2 * ox + 1] * pixel_bytes
        first, second = column_weights[2 * ox], column_weights[2 * ox + 1]
        p00, p01 = f32_view(top + left, channels), f32_view(top + right, channels)
        p10, p11 = f32_view(bottom + left, channels), f32_view(bottom + right, channels)
        pixel = f32_view(to + ox * out_bytes, channels)
        for c in range(channels):
            pixel[c] = upper * (first * p00[c] + second * p01[c]) + lower * (first * p10[c] + second * p11[c])


def bilinear_f32_op(
    x: np.ndarray,
    rows: np.ndarray,
    row_weights: np.ndarray,
    columns: np.ndarray,
    column_weights: np.ndarray,
    out: np.ndarray,
) -> np.ndarray:
    """The op of a bilinear resize; see :func:`bilinear_f32`. The arrays must stay alive."""
    images, height, width, channels = x.shape
    _, out_height, out_width, _ = out.shape
    address = program.data_address
    args = [
        address(x), height, width, channels, address(out), out_height, out_width,
        address(rows), address(row_weights), address(columns), address(column_weights),
        pixel_stride(x) * 4, pixel_stride(out) * 4,
    ]  # fmt: skip
    return program.new_op(_bilinear_task, images * out_height if out.size else 0, 0, args)


def bilinear_f32(
    x: np.ndarray,
    rows: np.ndarray,
    row_weights: np.ndarray,
    columns: np.ndarray,
    column_weights: np.ndarray,
    out: np.ndarray,
) -> np.ndarray:
    """Every output pixel from four input pixels.

    ``out = ry0*(cx0*p00 + cx1*p01) + ry1*(cx0*p10 + cx1*p11)`` in float32 steps, with ``ry`` the row weights, ``cx``
    the column weights, ``pij`` the input at row i and column j of the pixel's pair.

    Parameters
    ----------
    x : float32 (N, H, W, C)
        C-contiguous, or a slice of channels of such an array.
    rows, columns : int64 (OH, 2) and (OW, 2), C-contiguous
        The two input rows (columns) of each output row (column), all inside the image.
    row_weights, column_weights : float32 (OH, 2) and (OW, 2), C-contiguous
    out : float32 (N, OH, OW, C)
        Written and returned; C-contiguous or a slice of channels. Must not overlap x.
    """
    program.run(bilinear_f32_op(x, rows, row_weights, columns, column_weights, out))
    return out
