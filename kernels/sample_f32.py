"""fp32 samples of channels-last images between their pixels: grid sample and RoI align.

Versions, slowest first: the naive twins, one value at a time; :func:`grid_sample_f32`, a task for every output row, and
:func:`roi_align_f32`, a task for every region, which find the corners and weights of a point once for all channels.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.elementary import bits_float, float_word
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.simd import f32_view, words

__all__ = [
    "AVERAGE",
    "BILINEAR",
    "BORDER",
    "MAX",
    "NEAREST",
    "REFLECTION",
    "ZEROS",
    "grid_sample_f32",
    "grid_sample_f32_naive",
    "roi_align_f32",
    "roi_align_f32_naive",
]

#: How a sample is made of pixels, and what lies outside the image (grid sample); TNN's numbers.
NEAREST, BILINEAR = 1, 2
ZEROS, REFLECTION, BORDER = 0, 1, 2
#: How samples are joined (RoI align); TNN's numbers.
MAX, AVERAGE = 0, 1

_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)


# --- grid sample ---


@inline
def _pixel(coordinate, size, padding, align_corners):
    """A coordinate in -1..1 as a position in pixels, brought into the image where ``padding`` says so; float32."""
    moved = coordinate + _ONE
    if align_corners:
        position = np.float32(np.float64(moved) * 0.5 * np.float64(size - 1))
        low, span = _ZERO, np.float32(size - 1)
    else:
        # As in TNN: the product with the size in float32, the rest in double.
        position = np.float32(np.float64(moved * np.float32(size)) * 0.5 - 0.5)
        low, span = -_HALF, np.float32(size)
    if padding == REFLECTION:
        if span <= _ZERO:
            return _ZERO
        away = abs(position - low)
        turns = np.floor(away / span)
        away -= turns * span
        is_even = np.floor(turns * _HALF) * np.float32(2) == turns
        position = low + away if is_even else low + span - away
    if padding != ZEROS:
        position = min(max(position, _ZERO), np.float32(size - 1))
    return position


@inline
def _corners(position, size, mode):
    """The two pixels around a position and their weights; pixels outside the image become 0 with weight 0."""
    # Also false for NaN. Positions this far out have no pixel in the image.
    if not (position > np.float32(-2) and position < np.float32(size + 1)):
        return np.int64(0), np.int64(0), _ZERO, _ZERO
    if mode == NEAREST:
        position = np.float32(np.rint(position))
    first = np.int64(np.floor(position))
    second = first + 1
    weight_first = np.float32(second) - position
    weight_second = position - np.float32(first)
    if first < 0 or first >= size:
        first, weight_first = np.int64(0), _ZERO
    if second < 0 or second >= size:
        second, weight_second = np.int64(0), _ZERO
    return first, second, weight_first, weight_second


@kernel
def grid_sample_f32_naive(x, grid, mode, padding, align_corners, out):
    # x: float32 (N, H, W, C); grid: float32 (N, OH, OW, 2), x before y; mode, padding: int; align_corners: bool;
    # out: float32 (N, OH, OW, C)
    height, width = x.shape[1], x.shape[2]
    for n in range(out.shape[0]):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                px = _pixel(grid[n, oy, ox, 0], width, padding, align_corners)
                py = _pixel(grid[n, oy, ox, 1], height, padding, align_corners)
                if mode == NEAREST:
                    px, py = np.float32(np.rint(px)), np.float32(np.rint(py))
                for c in range(out.shape[3]):
                    total = np.float32(0)
                    for y in range(height):
                        for column in range(width):
                            weight_y = max(np.float32(0), np.float32(1) - abs(py - np.float32(y)))
                            weight_x = max(np.float32(0), np.float32(1) - abs(px - np.float32(column)))
                            total += x[n, y, column, c] * (weight_y * weight_x)
                    out[n, oy, ox, c] = total


@kernel
def _grid_sample_task(op, index, scratch):
    # op words from ARGS on: see grid_sample_f32. Task: one output row.
    args = words(op, program.WORDS)[program.ARGS :]
    x, height, width, channels, grid, rows, columns = args[0], args[1], args[2], args[3], args[4], args[5], args[6]
    mode, padding, align_corners, out = args[7], args[8], args[9] != 0, args[10]
    image = x + index // rows * height * width * channels * 4
    points = f32_view(grid + index * columns * 8, 2 * columns)
    for column in range(columns):
        left, right, at_left, at_right = _corners(
            _pixel(points[2 * column], width, padding, align_corners), width, mode
        )
        top, bottom, at_top, at_bottom = _corners(
            _pixel(points[2 * column + 1], height, padding, align_corners), height, mode
        )
        w0, w1, w2, w3 = at_left * at_top, at_right * at_top, at_left * at_bottom, at_right * at_bottom
        p0 = f32_view(image + (top * width + left) * channels * 4, channels)
        p1 = f32_view(image + (top * width + right) * channels * 4, channels)
        p2 = f32_view(image + (bottom * width + left) * channels * 4, channels)
        p3 = f32_view(image + (bottom * width + right) * channels * 4, channels)
        made = f32_view(out + (index * columns + column) * channels * 4, channels)
        for c in range(channels):
            made[c] = p0[c] * w0 + p1[c] * w1 + p2[c] * w2 + p3[c] * w3


def grid_sample_f32(
    x: np.ndarray, grid: np.ndarray, out: np.ndarray, *, mode: int = BILINEAR, padding: int = ZEROS,
    align_corners: bool = False,
) -> np.ndarray:  # fmt: skip
    """Samples of an image at the points of a grid.

    Parameters
    ----------
    x : float32 (N, H, W, C)
    grid : float32 (N, OH, OW, 2)
        Points (x, y) in -1..1.
    out : float32 (N, OH, OW, C)
        Written and returned. All three are C-contiguous.
    mode, padding : int
        :data:`NEAREST` (halves to even) or :data:`BILINEAR`; :data:`ZEROS`, :data:`REFLECTION` or :data:`BORDER`.
    align_corners : bool
        Whether -1 and 1 are the centres of the outer pixels instead of their outer edges.
    """
    address = program.data_address
    args = [
        address(x), *x.shape[1:], address(grid), *out.shape[1:3], mode, padding, int(align_corners), address(out),
    ]  # fmt: skip
    program.run(program.new_op(_grid_sample_task, out.shape[0] * out.shape[1], 0, args))
    return out


# --- RoI align ---


@inline
def _clamped(position, size):
    """The two pixels that a sample of RoI align lies between, and its distance from the first."""
    position = max(position, _ZERO)
    first = np.int64(position)
    if first >= size - 1:
        return size - 1, size - 1, _ZERO
    return first, first + 1, position - np.float32(first)


@inline
def _sample(start, part, step, number, count):
    """Where sample ``number`` of ``count`` in part ``part`` of a region lies; float32, TNN's order."""
    return start + np.float32(part) * step + (np.float32(number) + _HALF) * step / np.float32(count)


@inline
def _sample_count(ratio, size, parts):
    """How many samples a part of a region has along an axis."""
    return ratio if ratio > 0 else np.int64(np.ceil(size / np.float32(parts)))


@kernel
def roi_align_f32_naive(x, rois, images, scale, ratio, mode, out):
    # x: float32 (N, H, W, C); rois: float32 (R, 4), x0 y0 x1 y1; images: int32 (R,); scale: float32; ratio, mode: int;
    # out: float32 (R, OH, OW, C)
    height, width = x.shape[1], x.shape[2]
    for r in range(out.shape[0]):
        x0, y0 = rois[r, 0] * scale, rois[r, 1] * scale
        size_x, size_y = max(rois[r, 2] * scale - x0, _ONE), max(rois[r, 3] * scale - y0, _ONE)
        step_x, step_y = size_x / np.float32(out.shape[2]), size_y / np.float32(out.shape[1])
        count_x, count_y = _sample_count(ratio, size_x, out.shape[2]), _sample_count(ratio, size_y, out.shape[1])
        for ph in range(out.shape[1]):
            for pw in range(out.shape[2]):
                for c in range(out.shape[3]):
                    total, best = np.float32(0), np.float32(-np.inf)
                    for iy in range(count_y):
                        py = _sample(y0, ph, step_y, iy, count_y)
                        for ix in range(count_x):
                            px = _sample(x0, pw, step_x, ix, count_x)
                            if py < -1 or py > height or px < -1 or px > width:
                                best = max(best, _ZERO)
                                continue
                            top, bottom, down = _clamped(py, height)
                            left, right, over = _clamped(px, width)
                            v0 = (_ONE - down) * (_ONE - over) * x[images[r], top, left, c]
                            v1 = (_ONE - down) * over * x[images[r], top, right, c]
                            v2 = down * (_ONE - over) * x[images[r], bottom, left, c]
                            v3 = down * over * x[images[r], bottom, right, c]
                            total += v0 + v1 + v2 + v3
                            best = max(best, max(max(v0, v1), max(v2, v3)))
                    out[r, ph, pw, c] = best if mode == MAX else total / np.float32(count_x * count_y)


@kernel
def _roi_align_task(op, index, scratch):
    # op words from ARGS on: see roi_align_f32. Task: one region.
    args = words(op, program.WORDS)[program.ARGS :]
    x, height, width, channels, roi_at, images = args[0], args[1], args[2], args[3], args[4], args[5]
    rows, columns, ratio, mode, out = args[6], args[7], args[8], args[9], args[10]
    scale = bits_float(np.int32(args[11]))
    roi = f32_view(roi_at + index * 16, 4)
    image = x + words(images, index + 1)[index] * height * width * channels * 4
    x0, y0 = roi[0] * scale, roi[1] * scale
    size_x, size_y = max(roi[2] * scale - x0, _ONE), max(roi[3] * scale - y0, _ONE)
    step_x, step_y = size_x / np.float32(columns), size_y / np.float32(rows)
    count_x, count_y = _sample_count(ratio, size_x, columns), _sample_count(ratio, size_y, rows)
    divisor = np.float32(count_x * count_y)
    for part in range(rows * columns):
        made = f32_view(out + (index * rows * columns + part) * channels * 4, channels)
        made[:] = np.float32(-np.inf) if mode == MAX else _ZERO
        for sample in range(count_x * count_y):
            py = _sample(y0, part // columns, step_y, sample // count_x, count_y)
            px = _sample(x0, part % columns, step_x, sample % count_x, count_x)
            is_outside = py < -_ONE or py > np.float32(height) or px < -_ONE or px > np.float32(width)
            top, bottom, down = _clamped(_ZERO if is_outside else py, height)
            left, right, over = _clamped(_ZERO if is_outside else px, width)
            inside = _ZERO if is_outside else _ONE
            w0, w1 = inside * ((_ONE - down) * (_ONE - over)), inside * ((_ONE - down) * over)
            w2, w3 = inside * (down * (_ONE - over)), inside * (down * over)
            p0 = f32_view(image + (top * width + left) * channels * 4, channels)
            p1 = f32_view(image + (top * width + right) * channels * 4, channels)
            p2 = f32_view(image + (bottom * width + left) * channels * 4, channels)
            p3 = f32_view(image + (bottom * width + right) * channels * 4, channels)
            if mode == MAX:
                # Over the four weighted corners, as in TNN.
                for c in range(channels):
                    made[c] = max(made[c], max(max(w0 * p0[c], w1 * p1[c]), max(w2 * p2[c], w3 * p3[c])))
            else:
                for c in range(channels):
                    made[c] += w0 * p0[c] + w1 * p1[c] + w2 * p2[c] + w3 * p3[c]
        if mode != MAX:
            for c in range(channels):
                made[c] /= divisor


def roi_align_f32(
    x: np.ndarray, rois: np.ndarray, images: np.ndarray, out: np.ndarray, *, scale: float, ratio: int, mode: int
) -> np.ndarray:
    """Features of regions: the parts of each are averages, or maxima, of bilinear samples.

    Parameters
    ----------
    x : float32 (N, H, W, C)
    rois : float32 (R, 4)
        Corners x0, y0, x1, y1, to be multiplied by ``scale``; a region is at least one pixel wide and high.
    images : int64 (R,)
        Which image each region lies in.
    out : float32 (R, OH, OW, C)
        Written and returned. All four are C-contiguous.
    ratio : int
        Samples a part has along each axis; 0 or less: as many as it has pixels.
    mode : int
        :data:`AVERAGE` or :data:`MAX`.
    """
    address = program.data_address
    args = [
        address(x), *x.shape[1:], address(rois), address(images), *out.shape[1:3], ratio, mode, address(out),
        float_word(scale),
    ]  # fmt: skip
    program.run(program.new_op(_roi_align_task, out.shape[0], 0, args))
    return out
