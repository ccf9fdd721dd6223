"""Resizing and sampling of pictures.

Whatever a Resize says, along each axis it is a table of places or a matrix of weights. Where TNN's Upsample has the
same table or matrix, that layer is taken; else Gather, or a product with the matrix.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import product
from math import ceil, floor, prod
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.onnx.builder import Builder
from tnnquant.onnx.common import axis_of, binary, constant_of
from tnnquant.onnx.ops.functions import Round
from tnnquant.onnx.ops.reduce import along
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import FLOAT, Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

NEAREST, LINEAR, CUBIC = 1, 2, 3
_CODES = {"nearest": NEAREST, "linear": LINEAR, "bilinear": LINEAR, "cubic": CUBIC}


def _positions(size: int, out: int, scale: float, mode: str, roi: tuple[float, float]) -> np.ndarray:
    """float64 (out,): where in the input each output lies."""
    places = np.arange(out, dtype=np.float64)
    length = size * scale
    match mode:
        case "half_pixel":
            return (places + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            return (places + 0.5) / scale - 0.5 if length > 1 else np.zeros(out)
        case "asymmetric":
            return places / scale
        case "align_corners":
            return places * (size - 1) / (length - 1) if length != 1 else np.zeros(out)
        case "tf_half_pixel_for_nn":
            return (places + 0.5) / scale
        case "half_pixel_symmetric":
            adjustment = out / length
            centre = size / 2
            return centre * (1 - adjustment) + (places + 0.5) / scale - 0.5
        case "tf_crop_and_resize":
            begin, end = roi
            if length > 1:
                return begin * (size - 1) + places * (end - begin) * (size - 1) / (length - 1)
            return np.full(out, 0.5 * (begin + end) * (size - 1))
    raise Refused(f"its coordinate_transformation_mode {mode!r} is unknown")


def _nearest(positions: np.ndarray, size: int, rounding: str) -> np.ndarray:
    match rounding:
        case "round_prefer_floor":
            places = np.ceil(positions - 0.5)
        case "round_prefer_ceil":
            places = np.floor(positions + 0.5)
        case "floor":
            places = np.floor(positions)
        case "ceil":
            places = np.ceil(positions)
        case _:
            raise Refused(f"its nearest_mode {rounding!r} is unknown")
    return np.clip(places, 0, size - 1).astype(np.int64)


def _kernel(kind: int, distance: np.ndarray, a: float) -> np.ndarray:
    t = np.abs(distance)
    if kind == LINEAR:
        weight: np.ndarray = np.maximum(1 - t, 0)
        return weight
    inner = ((a + 2) * t - (a + 3)) * t * t + 1
    outer = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, inner, np.where(t < 2, outer, 0))


def _matrix(
    kind: int, positions: np.ndarray, size: int, scale: float, a: float, antialias: bool, exclude_outside: bool
) -> np.ndarray:
    """float64 (out, size): the weight of every input in every output; what lies outside is the edge."""
    stretch = min(scale, 1.0) if antialias else 1.0
    reach = (1 if kind == LINEAR else 2) / stretch
    matrix = np.zeros((len(positions), size))
    for row, position in enumerate(positions):
        places = np.arange(floor(position - reach) + 1, ceil(position + reach))
        if not len(places):
            places = np.array([round(position)])
        weights = _kernel(kind, (places - position) * stretch, a)
        if exclude_outside:
            weights = np.where((places >= 0) & (places < size), weights, 0)
        total = weights.sum()
        if (antialias or exclude_outside) and total:
            weights = weights / total
        np.add.at(matrix[row], np.clip(places, 0, size - 1), weights)
    return matrix


def _upsample_table(size: int, out: int) -> np.ndarray:
    from tnnquant.layers.upsample import _nearest_table

    return _nearest_table(size, out)[0]


def _upsample_matrix(kind: int, size: int, out: int, aligned: bool) -> np.ndarray:
    """The matrix of TNN's Upsample along an axis."""
    from tnnquant.layers.upsample import _bilinear_table, _cubic_table

    matrix = np.zeros((out, size))
    if kind == LINEAR:
        places, weights = _bilinear_table(size, out, aligned)
    else:
        places, weights = (array.T for array in _cubic_table(size, out, aligned))
    np.add.at(matrix, (np.arange(out)[:, None], places), weights)
    return matrix


def _is_near(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.abs(a - b).max(initial=0) < 2e-5


@operator(since=10)
def Resize(
    g: Builder, x: Value, roi_input: Value | None = None, scales_input: Value | None = None,
    sizes_input: Value | None = None, *, antialias: int = 0, axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel", cubic_coeff_a: float = -0.75, exclude_outside: int = 0,
    extrapolation_value: float = 0.0, keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Value:  # fmt: skip
    if g.opset < 11:
        return Upsample(g, x, roi_input, mode=mode)
    where = [axis_of(a, x.rank) for a in axes] if axes is not None else list(range(x.rank))
    scales = constant_of(scales_input, "scales")
    sizes = constant_of(sizes_input, "sizes")
    roi = constant_of(roi_input, "regions")
    full = np.ones(x.rank)
    out = list(x.dims)
    if sizes is not None and sizes.size:
        wanted = [int(v) for v in sizes.reshape(-1)]
        ratios = [w / x.dims[a] for w, a in zip(wanted, where, strict=True)]
        if keep_aspect_ratio_policy != "stretch":
            ratio = min(ratios) if keep_aspect_ratio_policy == "not_larger" else max(ratios)
            ratios = [ratio] * len(where)
            wanted = [int(np.floor(ratio * x.dims[a] + 0.5)) for a in where]
        for axis, size, ratio in zip(where, wanted, ratios, strict=True):
            full[axis], out[axis] = ratio, size
    elif scales is not None and scales.size:
        for axis, ratio in zip(where, scales.reshape(-1), strict=True):
            full[axis] = float(ratio)
            out[axis] = int(np.floor(x.dims[axis] * float(ratio)))
    else:
        raise Refused("it has neither scales nor sizes")
    if min(out) < 1 or not (full > 0).all():
        raise Refused(f"it resizes to {out}")
    regions = [(0.0, 1.0)] * x.rank
    if coordinate_transformation_mode == "tf_crop_and_resize":
        if roi is None:
            raise Refused("it cuts a region out, but names none (roi)")
        values = roi.reshape(-1)
        for k, axis in enumerate(where):
            regions[axis] = (float(values[k]), float(values[k + len(where)]))
    positions = [
        _positions(size, o, s, coordinate_transformation_mode, r)
        for size, o, s, r in zip(x.dims, out, full, regions, strict=True)
    ]
    kind = _CODES.get(mode)
    if kind is None:
        raise Refused(f"its mode {mode!r} is unknown")
    made = _resized(
        g, x, kind, positions, tuple(out), full, nearest_mode, cubic_coeff_a, bool(antialias), bool(exclude_outside)
    )
    if coordinate_transformation_mode == "tf_crop_and_resize":
        made = _extrapolated(g, made, positions, x.dims, extrapolation_value)
    return made


def _resized(
    g: Builder, x: Value, kind: int, positions: Sequence[np.ndarray], out: Sequence[int], scales: np.ndarray,
    rounding: str, a: float, antialias: bool, exclude: bool,
) -> Value:  # fmt: skip
    moved = [k for k in range(x.rank) if out[k] != x.dims[k] or not np.array_equal(positions[k], np.arange(out[k]))]
    if kind == NEAREST:
        tables = {k: _nearest(positions[k], x.dims[k], rounding) for k in moved}
        tables = {k: t for k, t in tables.items() if not np.array_equal(t, np.arange(x.dims[k]))}
        if _is_image(x, tables) and all(
            np.array_equal(t, _upsample_table(x.dims[k], out[k])) for k, t in tables.items()
        ):
            return _upsampled(g, x, NEAREST, out, 0)
        for axis, table in tables.items():
            x = g.gather(x, table, axis)
        return x
    if not x.is_float:
        made = _resized(g, g.cast(x, FLOAT), kind, positions, out, scales, rounding, a, antialias, exclude)
        return g.cast(made, x.dtype)
    matrices = {k: _matrix(kind, positions[k], x.dims[k], scales[k], a, antialias, exclude) for k in moved}
    matrices = {k: m for k, m in matrices.items() if not _is_near(m, np.eye(x.dims[k]))}
    if _is_image(x, matrices):
        for aligned in (0, 1):
            if all(_is_near(m, _upsample_matrix(kind, x.dims[k], out[k], bool(aligned))) for k, m in matrices.items()):
                return _upsampled(g, x, kind, out, aligned)
    for axis, matrix in matrices.items():
        x = along(g, x, axis, matrix.astype(np.float32))
    return x


def _is_image(x: Value, axes: Collection[int]) -> bool:
    """Whether TNN's Upsample may do it: height and width of a picture."""
    return x.rank in (3, 4, 5) and len(axes) > 0 and all(k >= max(2, x.rank - 2) for k in axes)


def _upsampled(g: Builder, x: Value, kind: int, out: Sequence[int], aligned: int) -> Value:
    image = x
    if x.rank == 3:
        image = g.reshape(x, (*x.dims[:2], 1, x.dims[2]))
    elif x.rank == 5:
        image = g.reshape(x, (x.dims[0], x.dims[1] * x.dims[2], *x.dims[3:]))
    size = (1, out[2]) if x.rank == 3 else tuple(out[-2:])
    ratio = [o / i for o, i in zip(size, image.dims[2:], strict=True)]
    made = g.add("Upsample", [image], kind, *ratio, aligned, size)
    return g.reshape(made, out)


def _extrapolated(g: Builder, x: Value, positions: Sequence[np.ndarray], dims: Sequence[int], value: float) -> Value:
    """With a constant wherever the region reaches beyond the picture."""
    outside = np.zeros(x.dims, bool)
    for axis, (places, size) in enumerate(zip(positions, dims, strict=True)):
        beyond = (places < 0) | (places > size - 1)
        outside |= beyond.reshape([-1 if k == axis else 1 for k in range(x.rank)])
    if not outside.any():
        return x
    kept = binary(g, "Mul", x, g.constant(~outside, np.float32))
    return kept if value == 0 else binary(g, "Add", kept, g.constant(outside * value, np.float32))


@operator()
def Upsample(
    g: Builder, x: Value, scales_input: Value | None = None, *, scales: Sequence[float] | None = None,
    mode: str = "nearest", height_scale: float | None = None, width_scale: float | None = None,
) -> Value:  # fmt: skip
    ratios: ArrayLike | None = constant_of(scales_input, "scales") if scales_input is not None else scales
    if ratios is None and height_scale is not None and width_scale is not None:
        ratios = (1.0, 1.0, height_scale, width_scale)
    if ratios is None:
        raise Refused("it has no scales")
    full = np.asarray(ratios, np.float64).reshape(-1)
    out = tuple(int(np.floor(d * s)) for d, s in zip(x.dims, full, strict=True))
    positions = [np.arange(o) / s for o, s in zip(out, full, strict=True)]
    return _resized(g, x, _CODES[mode], positions, out, full, "floor", -0.75, False, False)


# --- sampling at places that the data says ---


@operator(since=16)
def GridSample(
    g: Builder, x: Value, grid: Value, *, mode: str = "linear", padding_mode: str = "zeros", align_corners: int = 0
) -> Value:
    kind = _CODES.get(mode.removeprefix("bi"))
    if kind is None or padding_mode not in ("zeros", "border", "reflection"):
        raise Refused(f"its mode {mode!r} or padding_mode {padding_mode!r} is unknown")
    if x.rank != 4 or kind != LINEAR or padding_mode == "reflection":
        return _sampled(g, x, grid, kind, padding_mode, bool(align_corners))
    sizes = np.array(x.dims[:1:-1], np.float64)  # width, height
    if align_corners:
        # The same pixels in coordinates whose -1 and 1 are the outer edges of the corner pixels.
        grid = binary(g, "Mul", grid, g.constant((sizes - 1) / sizes, np.float32))
    if padding_mode == "border":
        limit = (sizes - 1) / sizes
        low = binary(g, "Maximum", grid, g.constant(-limit, np.float32))
        grid = binary(g, "Minimum", low, g.constant(limit, np.float32))
    return g.add("GridSample", [x, grid], 2, 0, 0)


def _sampled(g: Builder, x: Value, grid: Value, kind: int, padding: str, aligned: bool) -> Value:
    """By gathering: every neighbour of every place, times its weight. TNN samples pictures bilinearly only."""
    spatial = x.rank - 2
    if kind == CUBIC and spatial != 2:
        raise Refused("it is cubic in three dims, which ONNX does not define")
    places = grid.dims[1:-1]
    axes = [_pixels(g, grid, k, x.dims[x.rank - 1 - k], aligned, padding, kind) for k in range(spatial)][::-1]
    taps = [_axis_taps(g, at, size, kind, padding, aligned) for at, size in zip(axes, x.dims[2:], strict=True)]
    images = []
    for image in range(x.dims[0]):
        flat = g.reshape(g.cut(x, 0, image, image + 1), (x.dims[1], prod(x.dims[2:])))
        total: Value | None = None
        for combination in product(*taps):
            pairs = (
                [g.reshape(g.cut(v, 0, image, image + 1), (prod(places),)) for v in pair] for pair in combination
            )
            number, weight = next(pairs)
            for (place, share), size in zip(pairs, x.dims[3:], strict=True):
                number = binary(g, "Add", binary(g, "Mul", number, g.constant(size, np.float32)), place)
                weight = binary(g, "Mul", weight, share)
            found = g.add("Gather", [flat, g.cast(number, np.int32)], 1, False, False)
            term = binary(g, "Mul", found, weight)
            total = term if total is None else binary(g, "Add", total, term)
        assert total is not None
        images.append(g.reshape(total, (1, x.dims[1], *places)))
    return images[0] if len(images) == 1 else g.add("Concat", images, 0)


def _pixels(g: Builder, grid: Value, axis: int, size: int, aligned: bool, padding: str, kind: int) -> Value:
    """Coordinates along an axis in pixels, (N, places ...)."""
    at = g.reshape(g.cut(grid, grid.rank - 1, axis, axis + 1), grid.dims[:-1])
    factor, shift = ((size - 1) / 2, (size - 1) / 2) if aligned else (size / 2, (size - 1) / 2)
    pixel = binary(g, "Add", binary(g, "Mul", at, g.constant(factor, np.float32)), g.constant(shift, np.float32))
    if kind == NEAREST:
        pixel = Round(g, pixel)
    return pixel if kind == CUBIC else _within(g, pixel, size, padding, aligned)


def _within(g: Builder, pixel: Value, size: int, padding: str, aligned: bool) -> Value:
    """Pixels beyond the picture where the padding takes them."""
    if padding == "reflection":
        low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
        span = high - low
        if span <= 0:
            return binary(g, "Mul", pixel, g.constant(0, np.float32))
        # Distance to the nearest even multiple of the span.
        moved = binary(g, "Sub", pixel, g.constant(low, np.float32))
        turns = g.add("Floor", [binary(g, "Mul", moved, g.constant(1 / (2 * span), np.float32))])
        rest = binary(g, "Sub", moved, binary(g, "Mul", turns, g.constant(2 * span, np.float32)))
        folded = g.add("Abs", [binary(g, "Sub", rest, g.constant(span, np.float32))])
        pixel = binary(g, "Sub", g.constant(high, np.float32), folded)
    if padding == "zeros":
        return pixel
    return g.add("Clip", [pixel], 0.0, float(size - 1))


def _axis_taps(g: Builder, at: Value, size: int, kind: int, padding: str, aligned: bool) -> list[tuple[Value, Value]]:
    """Places and weights along an axis."""
    one = g.constant(1, np.float32)
    first = g.add("Floor", [at])
    share = binary(g, "Sub", at, first)
    pairs: list[tuple[Value, Value | None]]
    if kind == NEAREST:
        pairs = [(at, None)]
    elif kind == LINEAR:
        pairs = [(first, binary(g, "Sub", one, share)), (binary(g, "Add", first, one), share)]
    else:
        pairs = []
        for step in range(-1, 3):
            distance = g.add("Abs", [binary(g, "Sub", share, g.constant(step, np.float32))])
            pairs.append((binary(g, "Add", first, g.constant(step, np.float32)), _cubic(g, distance, step in (0, 1))))
    taps = []
    for place, weight in pairs:
        kept = _within(g, place, size, padding, aligned) if kind == CUBIC else place
        inside = g.add("Clip", [kept], 0.0, float(size - 1))
        if padding == "zeros":
            mask = g.cast(g.add("Equal", [inside, kept], dtype=bool), FLOAT)
            weight = mask if weight is None else binary(g, "Mul", weight, mask)
        if weight is None:
            weight = g.constant(np.ones(at.dims, np.float32))
        taps.append((inside, weight))
    return taps


def _cubic(g: Builder, t: Value, is_inner: bool, a: float = -0.75) -> Value:
    """The cubic kernel at a distance below 1 (inner) or from 1 to 2."""
    terms = (a + 2, -(a + 3), 0.0, 1.0) if is_inner else (a, -5 * a, 8 * a, -4 * a)
    result = g.constant(terms[0], np.float32)
    for term in terms[1:]:
        result = binary(g, "Add", binary(g, "Mul", t, result), g.constant(term, np.float32))
    return result
