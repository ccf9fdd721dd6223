"""Pooling in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.layers.pooling import Pooling
from tnnquant.layers.pooling_nd import Pooling1D, Pooling3D
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.registry import exports
from tnnquant.onnx.export.windows import Window, trimmed

__all__ = ["pooled"]

MAX = 0


def pooled(b: Builder, x: str, to: str, windows: Sequence[Window], pool_type: int) -> None:
    """Maximum or average over windows; padding is never counted."""
    kind = "MaxPool" if pool_type == MAX else "AveragePool"
    if all((w.kernel, w.out, w.begin) == (w.size, 1, 0) for w in windows):
        b.op(f"Global{kind}", x, to=to)
        return
    filled = [_filled(w) for w in windows]
    after = [w.out - last for w, (_, last) in zip(windows, filled, strict=True)]
    beyond = [0, 0, *(first for first, _ in filled), 0, 0, *after]
    if any(beyond) and pool_type != MAX:
        raise UnsupportedLayerError("averages of windows that lie in the padding alone")
    inside = [
        replace(w, out=last - first, begin=w.begin - first * w.stride)
        for w, (first, last) in zip(windows, filled, strict=True)
    ]
    x, pads = trimmed(b, x, len(windows) + 2, inside)
    x = b.op(
        kind, x, to=None if any(beyond) else to, kernel_shape=[w.kernel for w in windows],
        strides=[w.stride for w in windows], pads=pads,
    )  # fmt: skip
    if any(beyond):
        b.op("Pad", x, b.ints(*beyond), b.scalar(0), to=to)


def _filled(window: Window) -> tuple[int, int]:
    """The windows that reach into the input, from the first to before the last: ONNX allows no others. TNN's maximum
    of nothing is 0."""
    first = -(-(window.begin - window.kernel + 1) // window.stride)
    last = (window.size - 1 + window.begin) // window.stride + 1
    return min(max(first, 0), window.out), max(min(last, window.out), 0)


@exports("Pooling")
def pooling(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """2-D, also adaptive."""
    layer = node.layer.expect(Pooling)
    dims, out = b.dims(node.inputs[0]), b.dims(node.outputs[0])
    if layer.is_adaptive:
        _adaptive(b, x[0], y[0], dims[2:], out[2:], layer.pool_type)
        return
    kernel, axes = layer.kernel(dims), layer.axes(dims)
    begins = [axis.begin for axis in axes]
    sizes = zip(dims[2:], out[2:], kernel, (layer.stride_h, layer.stride_w), begins, strict=True)
    pooled(b, x[0], y[0], [Window(*each) for each in sizes], layer.pool_type)


def _adaptive(b: Builder, x: str, to: str, size: Sequence[int], out: Sequence[int], pool_type: int) -> None:
    """Windows of equal size where they are; else averages by two matrix products."""
    if all(n % m == 0 for n, m in zip(size, out, strict=True)):
        pooled(b, x, to, [Window(n, m, n // m, n // m, 0) for n, m in zip(size, out, strict=True)], pool_type)
        return
    if pool_type == MAX:
        raise UnsupportedLayerError(f"adaptive maximum from {tuple(size)} to {tuple(out)}: the windows differ in size")
    rows, columns = (_averaging(n, m) for n, m in zip(size, out, strict=True))
    b.op("MatMul", rows, b.op("MatMul", x, np.ascontiguousarray(columns.T)), to=to)


def _averaging(size: int, out: int) -> np.ndarray:
    """float32 (out, size): the weights of each adaptive window."""
    table = np.zeros((out, size), np.float32)
    for i in range(out):
        window = slice(i * size // out, -(-(i + 1) * size // out))
        table[i, window] = 1 / (window.stop - window.start)
    return table


@exports("Pooling1D")
def pooling_1d(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """1-D."""
    layer = node.layer.expect(Pooling1D)
    dims = b.dims(node.inputs[0])
    _windowed(b, x[0], y[0], dims[2:], [layer.window(dims)], layer.pool_type)


@exports("Pooling3D")
def pooling_3d(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """3-D."""
    layer = node.layer.expect(Pooling3D)
    dims = b.dims(node.inputs[0])
    _windowed(b, x[0], y[0], dims[2:], layer.windows(dims), layer.pool_type)


def _windowed(b: Builder, x: str, to: str, size: Sequence[int], windows: Sequence[Any], pool_type: int) -> None:
    made = [Window(n, w.size, w.kernel, w.stride, w.begin) for n, w in zip(size, windows, strict=True)]
    pooled(b, x, to, made, pool_type)
