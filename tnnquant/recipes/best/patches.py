"""What a weighted layer multiplies its weights with: windows of its input, at some output positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tnnquant.graph import Node
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.weighted import Weighted

__all__ = ["mean_window", "outputs_at", "windows_of"]


def windows_of(node: Node, x: np.ndarray, out_dims: Sequence[int], most: int) -> np.ndarray:
    """Windows of one input, evenly spaced over the output positions.

    Parameters
    ----------
    node : Node
        A convolution (resolved) or an inner product.
    x : float32 or int8 (1, C, H, W), or (1, ...) for an inner product
        Padding is taken as 0.
    out_dims : (1, OC, OH, OW)
    most : int
        Windows, at most.

    Returns
    -------
    of the type of x (windows, taps, C)
        For an inner product (items, 1, length).
    """
    layer = node.layer
    if not isinstance(layer, Convolution):
        return np.ascontiguousarray(x).reshape(x.shape[0], 1, -1)
    height, width = x.shape[2:]
    at = _places(out_dims, most)
    count = len(at)
    top, left = at // out_dims[3] * layer.stride_h - layer.pad_h, at % out_dims[3] * layer.stride_w - layer.pad_w
    dilation = layer.dilation_h  # TNN uses it for both axes
    pixels = x.transpose(0, 2, 3, 1)[0]
    pixels = np.ascontiguousarray(pixels).reshape(height * width, -1)
    found = np.empty((count, layer.kernel_h * layer.kernel_w, pixels.shape[1]), x.dtype)
    for tap in range(found.shape[1]):
        row, column = top + tap // layer.kernel_w * dilation, left + tap % layer.kernel_w * dilation
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        found[:, tap] = pixels[np.clip(row, 0, height - 1) * width + np.clip(column, 0, width - 1)]
        if not inside.all():
            found[~inside, tap] = 0
    return found


def mean_window(node: Node, windows: np.ndarray) -> np.ndarray:
    """The mean of windows in the order of the layer's weights, float64 (G, C/G * KH * KW), exact for integers.

    Parameters
    ----------
    node : Node
    windows : float32 or int8 (windows, taps, C)
    """
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
    return np.ascontiguousarray(y.reshape(y.shape[1], -1)[:, _places(y.shape, most)].T)


def _places(out_dims: Sequence[int], most: int) -> np.ndarray:
    """Numbers of output positions, evenly spaced."""
    places = out_dims[2] * out_dims[3]
    count = min(most, places)
    return np.arange(count) * places // count
