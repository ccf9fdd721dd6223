"""Pooling: windows, and over everything."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np

from tnnquant.onnx.builder import Builder
from tnnquant.onnx.common import binary, compare, select
from tnnquant.onnx.ops.convolution import _bordered
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import FLOAT, Value
from tnnquant.onnx.windows import Windows

MAX, AVERAGE = 0, 1
_LOWEST = -float(np.finfo(np.float32).max)


def _pooled(g: Builder, x: Value, kind: int, windows: Windows) -> Value:
    """TNN's pooling, which never counts its border, of windows with an even border and no dilation."""
    extra = [
        (out - 1) * stride + kernel - (size + 2 * pad)
        for out, stride, kernel, size, pad in zip(
            windows.out, windows.strides, windows.kernel, windows.sizes, windows.begins, strict=True
        )
    ]
    ceil = int(any(e > 0 for e in extra))
    if x.rank == 3:
        # As an image of one row: TNN's 1-D pooling has rules of its own.
        flat = g.reshape(x, (*x.dims[:2], 1, x.dims[2]))
        two = Windows(
            (1, *windows.sizes), (1, *windows.kernel), (1, *windows.strides), (1, 1), (0, *windows.begins),
            (0, *windows.ends), (1, *windows.out),
        )  # fmt: skip
        made = _pooled(g, flat, kind, two)
        return g.reshape(made, (*made.dims[:2], made.dims[3]))
    if x.rank == 4:
        made = g.add(
            "Pooling", [x], kind, *windows.kernel, *windows.strides, *windows.begins, -1, -1, -1, ceil, 0, 0, 0
        )
    else:
        made = g.add("Pooling3D", [x], kind, *windows.kernel, *windows.strides, *windows.begins, -1, -1, -1, -1, ceil)
    for axis, size in enumerate(windows.out, start=2):
        if made.dims[axis] < size:
            raise Refused(f"TNN's pooling of it is {made.dims[2:]}, expected {windows.out}")
        made = g.cut(made, axis, 0, size)
    return made


def _taps(g: Builder, x: Value, windows: Windows) -> list[Value]:
    """What every place of the window meets, as one value each; the input has its border already."""
    values = []
    for place in product(*(range(k) for k in windows.kernel)):
        tap = x
        for axis, k in enumerate(place):
            begin = k * windows.dilations[axis]
            tap = g.cut(
                tap, axis + 2, begin, begin + (windows.out[axis] - 1) * windows.strides[axis] + 1, windows.strides[axis]
            )
        values.append(tap)
    return values


def _combined(g: Builder, kind: str, x: Value, windows: Windows) -> Value:
    """The maximum or the sum of the places of every window, one axis after the other; the border is there already."""
    for axis, count in enumerate(windows.kernel, start=2):
        dilation, stride, out = windows.dilations[axis - 2], windows.strides[axis - 2], windows.out[axis - 2]
        x = _run_of(g, kind, x, axis, count, dilation, {1: x})
        x = g.cut(x, axis, 0, (out - 1) * stride + 1, stride)
    return x


def _run_of(g: Builder, kind: str, x: Value, axis: int, count: int, step: int, known: dict[int, Value]) -> Value:
    """The maximum or the sum of ``count`` places, ``step`` apart, from each place on: of two shorter runs."""
    if count not in known:
        half = (count + 1) // 2 if kind == "Maximum" else count // 2
        rest = half if kind == "Maximum" else count - half  # a maximum may take a place twice
        first, second = (_run_of(g, kind, x, axis, n, step, known) for n in (half, rest))
        length = x.dims[axis] - (count - 1) * step
        begin = (count - rest) * step
        known[count] = binary(g, kind, g.cut(first, axis, 0, length), g.cut(second, axis, begin, begin + length))
    return known[count]


def _overhang(windows: Windows) -> tuple[int, ...]:
    """How far the last windows reach beyond the input; 0 where they end within it."""
    return tuple(
        max((out - 1) * stride + extent - (size + begin), 0)
        for out, stride, extent, size, begin in zip(
            windows.out, windows.strides, windows.extents, windows.sizes, windows.begins, strict=True
        )
    )


def _with_ends(windows: Windows, ends: Sequence[int]) -> Windows:
    return Windows(
        windows.sizes, windows.kernel, windows.strides, windows.dilations, windows.begins, tuple(ends), windows.out
    )


@operator()
def MaxPool(
    g: Builder, x: Value, *, kernel_shape: Sequence[int], auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: Sequence[int] | None = None, pads: Sequence[int] | None = None, storage_order: int = 0,
    strides: Sequence[int] | None = None,
) -> Value | tuple[Value, Value]:  # fmt: skip
    windows = Windows.of(x.dims[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    return _with_places(g, x, windows, storage_order) if 1 in g.wanted else _maxima(g, x, windows)


def _maxima(g: Builder, x: Value, windows: Windows) -> Value:
    if not x.is_float:
        return g.cast(_maxima(g, g.cast(x, FLOAT), windows), x.dtype)
    if max(windows.dilations) > 1:
        wide = _with_ends(windows, _overhang(windows))
        return _combined(g, "Maximum", _bordered(g, x, wide, _LOWEST), windows)
    return _framed(g, x, windows)


def _framed(g: Builder, x: Value, windows: Windows) -> Value:
    """Maximum pooling with any border."""
    fits = all(b < k for b, k in zip(windows.begins, windows.kernel, strict=True))
    if windows.is_symmetric and fits and x.rank < 5:
        return _pooled(g, x, MAX, windows)
    if windows.is_tnn_same and x.rank == 4 and fits:
        return g.add("Pooling", [x], MAX, *windows.kernel, *windows.strides, *windows.begins, -1, -1, 0, 0, 0, 0, 0)
    if windows.is_symmetric and fits:
        return _pooled(g, x, MAX, windows)
    wide = _with_ends(windows, _overhang(windows))
    x = _bordered(g, x, wide, _LOWEST)
    return _pooled(g, x, MAX, wide.padded())


#: Places of a window whose maximum is looked for with its place.
_MOST_TAPS = 64


def _with_places(g: Builder, x: Value, windows: Windows, storage_order: int) -> tuple[Value, Value]:
    """The maxima and where in the input they lie (flat numbers), one place of the window after the other."""
    if prod(windows.kernel) > _MOST_TAPS or not x.is_float:
        raise Refused(f"the places of its maxima (Indices) are read, in windows of {prod(windows.kernel)}")
    wide = _with_ends(windows, _overhang(windows))
    values = _taps(g, _bordered(g, x, wide, _LOWEST), windows)
    order = (0, 1, *(range(x.rank - 1, 1, -1) if storage_order else range(2, x.rank)))
    shape = [x.dims[k] for k in order]
    numbers = np.arange(x.size, dtype=np.int32).reshape(shape).transpose(np.argsort(order))
    borders = [(0, 0), (0, 0), *((max(b, 0), max(e, 0)) for b, e in zip(wide.begins, wide.ends, strict=True))]
    places = _taps(g, g.constant(np.pad(numbers, borders)), windows)
    best, where = values[0], places[0]
    for value, place in zip(values[1:], places[1:], strict=True):
        is_larger = compare(g, "Greater", value, best)
        where = select(g, is_larger, place, where)
        best = binary(g, "Maximum", best, value)
    return best, Value(where.dims, np.dtype(np.int64), where.name, where.array)


@operator()
def AveragePool(
    g: Builder, x: Value, *, kernel_shape: Sequence[int], auto_pad: str = "NOTSET", ceil_mode: int = 0,
    count_include_pad: int = 0, dilations: Sequence[int] | None = None, pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    windows = Windows.of(x.dims[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    bordered = any(windows.begins) or any(windows.ends)
    if max(windows.dilations) == 1:
        fits = all(b < k for b, k in zip(windows.begins, windows.kernel, strict=True))
        if (not count_include_pad and windows.is_symmetric and fits) or not bordered:
            return _pooled(g, x, AVERAGE, windows)
        if not count_include_pad and windows.is_tnn_same and x.rank == 4 and fits:
            return g.add(
                "Pooling", [x], AVERAGE, *windows.kernel, *windows.strides, *windows.begins, -1, -1, 0, 0, 0, 0, 0
            )
        if count_include_pad:
            return _pooled(g, _bordered(g, x, windows), AVERAGE, windows.padded())
    wide = _with_ends(windows, _overhang(windows))
    counted = windows if count_include_pad else _with_ends(windows, (0,) * len(windows.ends))
    counts = _counts(counted, bool(count_include_pad))
    source = _bordered(g, x, wide)
    if max(windows.dilations) > 1:
        total = _combined(g, "Add", source, windows)
        return binary(g, "Mul", total, g.constant(1 / counts, np.float32))
    mean = _pooled(g, source, AVERAGE, wide.padded())
    return binary(g, "Mul", mean, g.constant(prod(windows.kernel) / counts, np.float32))


def _counts(windows: Windows, with_border: bool) -> np.ndarray:
    """How many places of each window count: float64 (1, 1, ...)."""
    counts = np.ones((1, 1, *(1,) * len(windows.sizes)))
    for axis, size in enumerate(windows.sizes):
        begin, end = windows.begins[axis], windows.ends[axis]
        low, high = (-begin, size + end) if with_border else (0, size)
        starts = np.arange(windows.out[axis]) * windows.strides[axis] - begin
        places = starts[:, None] + np.arange(windows.kernel[axis]) * windows.dilations[axis]
        met = ((places >= low) & (places < high)).sum(1)
        counts = counts * np.maximum(met, 1).reshape([-1 if k == axis + 2 else 1 for k in range(counts.ndim)])
    return counts


@operator()
def LpPool(
    g: Builder, x: Value, *, kernel_shape: Sequence[int], auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: Sequence[int] | None = None, p: int = 2, pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    size = g.add("Abs", [x])
    powers = size if p == 1 else g.add("Power", [size], float(p), 1.0, 0.0)
    mean = AveragePool(
        g, powers, kernel_shape=kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, count_include_pad=1,
        dilations=dilations, pads=pads, strides=strides,
    )  # fmt: skip
    windows = Windows.of(x.dims[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    total = binary(g, "Mul", mean, g.constant(_counts(windows, True), np.float32))
    return total if p == 1 else g.add("Power", [total], 1 / p, 1.0, 0.0)


# --- over everything ---


def _global(g: Builder, x: Value, kind: int, reduction: str) -> Value:
    if x.rank == 4:
        return g.add("Pooling", [x], kind, *x.dims[2:], 1, 1, 0, 0, -1, -1, -1, 0, 0, 0, 0)
    return g.add(reduction, [x], 1, tuple(range(2, x.rank)))


@operator()
def GlobalAveragePool(g: Builder, x: Value) -> Value:
    return _global(g, x, AVERAGE, "ReduceMean")


@operator()
def GlobalMaxPool(g: Builder, x: Value) -> Value:
    return _global(g, x, MAX, "ReduceMax")


@operator()
def GlobalLpPool(g: Builder, x: Value, *, p: int = 2) -> Value:
    axes = tuple(range(2, x.rank))
    if p in (1, 2):
        return g.add(f"ReduceL{p}", [x], 1, axes)
    total = g.add("ReduceSum", [g.add("Power", [g.add("Abs", [x])], float(p), 1.0, 0.0)], 1, axes)
    return g.add("Power", [total], 1 / p, 1.0, 0.0)
