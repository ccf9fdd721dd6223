"""What a weighted layer multiplies its weights with: windows of its input, at some output positions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tnnquant.graph import Node
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.weighted import Weighted

__all__ = ["mean_window", "outputs_at", "windows_of"]


def windows_of(node: Node, x: np.ndarray, out_dims: Sequence[int], most: int) -> np.ndarray:
    """Windows of an input, evenly spaced over the output positions; of one sample after those of another.

    Parameters
    ----------
    node : Node
        A convolution (resolved) or an inner product.
    x : float32 or int8 (samples, C, H, W), or (items, ...) for an inner product
        Padding is taken as 0.
    out_dims : (1, OC, OH, OW)
    most : int
        Windows of each sample, at most.

    Returns
    -------
    of the type of x (windows, taps, C)
        For an inner product (items, 1, length).
    """
    layer = node.layer
    if not isinstance(layer, Convolution):
        return np.ascontiguousarray(x).reshape(x.shape[0], 1, -1)
    samples, channels, height, width = x.shape
    rows, outside = _rows_of(layer, height, width, tuple(out_dims[2:]), most)
    pixels = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(-1, channels)
    if samples > 1:
        rows = rows + (height * width * np.arange(samples))[:, None, None]
    found = pixels.take(rows, axis=0)
    if outside is not None:
        found.reshape(samples, *outside.shape, channels)[:, outside] = 0
    return found.reshape(-1, *found.shape[-2:])


@lru_cache(maxsize=256)
def _rows_of(
    layer: Convolution, height: int, width: int, places: tuple[int, int], most: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Numbers of the pixels of each window, int64 (windows, taps), and which taps lie in the padding; None: none."""
    at, taps = _places(places, most), np.arange(layer.kernel_h * layer.kernel_w)
    dilation = layer.dilation_h  # TNN uses it for both axes
    top, left = at // places[1] * layer.stride_h - layer.pad_h, at % places[1] * layer.stride_w - layer.pad_w
    row = top[:, None] + taps // layer.kernel_w * dilation
    column = left[:, None] + taps % layer.kernel_w * dilation
    outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
    rows = np.clip(row, 0, height - 1) * width + np.clip(column, 0, width - 1)
    return rows, outside if outside.any() else None


def mean_window(node: Node, windows: np.ndarray) -> np.ndarray:
    """The mean of windows in the order of the layer's weights, float64 (G, C/G * KH * KW), exact for integers.

    Parameters
    ----------
    node : Node
    windows : float32 or int8 (windows, taps, C)
    """
    if windows.dtype == np.int8:
        from tnnquant.kernels.code_moments import column_sums

        sums = column_sums(windows.reshape(len(windows), -1))[0]
        mean = sums.reshape(windows.shape[1:]) / len(windows)
    else:
        mean = windows.mean(axis=0, dtype=np.float64)
    return np.ascontiguousarray(mean.T).reshape(node.layer.expect(Weighted).groups, -1)


def outputs_at(node: Node, y: np.ndarray, most: int) -> np.ndarray:
    """What a layer gives at the places of :func:`windows_of`, float32 (windows, OC).

    Parameters
    ----------
    node : Node
    y : float32 (1, OC, OH, OW), or (items, ...) for an inner product
    most : int
    """
    if not isinstance(node.layer, Convolution):
        return np.array(y, np.float32).reshape(y.shape[0], -1)
    return np.ascontiguousarray(y.reshape(y.shape[1], -1)[:, _places(y.shape[2:], most)].T)


def _places(dims: Sequence[int], most: int) -> np.ndarray:
    """Numbers of output positions of a map (OH, OW), evenly spaced."""
    places = dims[0] * dims[1]
    count = min(most, places)
    return np.arange(count) * places // count
