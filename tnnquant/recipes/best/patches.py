"""What a weighted layer multiplies its weights with: windows of its input, at some output positions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tnnquant.graph import Node
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.weighted import Weighted

__all__ = ["mean_codes", "mean_input", "outputs_at", "windows_of"]


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
    from tnnquant.kernels.windows import gathered_windows

    rows = _rows_of(layer, *x.shape[2:], tuple(out_dims[2:]), most)
    found = gathered_windows(_pixels(x), rows)
    return found.reshape(-1, *found.shape[2:])


def _pixels(x: np.ndarray) -> np.ndarray:
    """Of the type of x (samples, H * W, C), from (samples, C, H, W)."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(len(x), -1, x.shape[1])


@lru_cache(maxsize=256)
def _rows_of(
    layer: Convolution, height: int, width: int, places: tuple[int, int], most: int
) -> np.ndarray:
    """Numbers of the pixels of each window, int64 (windows, taps); -1 for taps in the padding."""
    at, taps = _places(places, most), np.arange(layer.kernel_h * layer.kernel_w)
    dilation = layer.dilation_h  # TNN uses it for both axes
    top, left = at // places[1] * layer.stride_h - layer.pad_h, at % places[1] * layer.stride_w - layer.pad_w
    row = top[:, None] + taps // layer.kernel_w * dilation
    column = left[:, None] + taps % layer.kernel_w * dilation
    outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
    return np.where(outside, -1, row * width + column)


def mean_input(node: Node, x: np.ndarray, out_dims: Sequence[int], most: int) -> np.ndarray:
    """The mean of the windows that :func:`windows_of` gives, in the order of the layer's weights.

    Parameters
    ----------
    node, out_dims, most
        As of :func:`windows_of`.
    x : float32 (1, C, H, W), or (items, ...) for an inner product

    Returns
    -------
    float64 (G, C/G * KH * KW)
    """
    from tnnquant.kernels.windows import window_sums

    layer = node.layer
    if not isinstance(layer, Convolution):
        return _by_weight(node, windows_of(node, x, out_dims, most).mean(axis=0, dtype=np.float64))
    rows = _rows_of(layer, *x.shape[2:], tuple(out_dims[2:]), most)
    return _by_weight(node, window_sums(_pixels(x)[0], rows) / len(rows))


def mean_codes(node: Node, windows: np.ndarray) -> np.ndarray:
    """The mean of windows in the order of the layer's weights, float64 (G, C/G * KH * KW), exact.

    Parameters
    ----------
    node : Node
    windows : int8 (windows, taps, C)
    """
    from tnnquant.kernels.code_moments import column_sums

    sums = column_sums(windows.reshape(len(windows), -1))[0]
    return _by_weight(node, sums.reshape(windows.shape[1:]) / len(windows))


def _by_weight(node: Node, mean: np.ndarray) -> np.ndarray:
    """From (taps, C) to (G, C/G * KH * KW)."""
    return np.ascontiguousarray(mean.T).reshape(node.layer.expect(Weighted).groups, -1)


def outputs_at(node: Node, y: np.ndarray, most: int) -> np.ndarray:
    """What a layer gives at the places of :func:`windows_of`, float32 (windows, OC).

    Parameters
    ----------
    node : Node
    y : float32 (items, OC, OH, OW), or (items, ...) for an inner product
    most : int
    """
    if not isinstance(node.layer, Convolution):
        return np.array(y, np.float32).reshape(y.shape[0], -1)
    chosen = y.reshape(*y.shape[:2], -1)[:, :, _places(y.shape[2:], most)]
    return np.ascontiguousarray(chosen.transpose(0, 2, 1)).reshape(-1, y.shape[1])


def _places(dims: Sequence[int], most: int) -> np.ndarray:
    """Numbers of output positions of a map (OH, OW), evenly spaced."""
    places = dims[0] * dims[1]
    count = min(most, places)
    return np.arange(count) * places // count
