"""What a weighted layer multiplies its weights with: windows of its input, at some output positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tnnquant.graph import Node

__all__ = ["gram", "patches"]

#: Rows of integers whose products float32 sums exactly: 1024 * 128 * 128 = 2**24.
_EXACT_ROWS = 1024


def patches(node: Node, x: np.ndarray, out_dims: Sequence[int], most: int) -> np.ndarray:
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
    float32 (G, windows, K)
        K in the order of the weights, C/G * KH * KW.
    """
    layer = node.layer
    if not hasattr(layer, "kernel_h"):
        return x.reshape(1, x.shape[0], -1).astype(np.float32)
    height, width = out_dims[2:]
    count = min(most, height * width)
    at = np.arange(count) * (height * width) // count
    dilation = layer.dilation_h  # TNN uses it for both axes
    rows = (at // width * layer.stride_h - layer.pad_h)[:, None, None] + np.arange(layer.kernel_h)[:, None] * dilation
    columns = (at % width * layer.stride_w - layer.pad_w)[:, None, None] + np.arange(layer.kernel_w) * dilation
    inside = (rows >= 0) & (rows < x.shape[2]) & (columns >= 0) & (columns < x.shape[3])
    pixels = x.transpose(0, 2, 3, 1)[0]
    windows = pixels[np.clip(rows, 0, x.shape[2] - 1), np.clip(columns, 0, x.shape[3] - 1)].astype(np.float32)
    windows *= inside[..., None]
    # (windows, KH, KW, G, C/G) -> (G, windows, C/G, KH, KW)
    grouped = windows.reshape(count, layer.kernel_h, layer.kernel_w, layer.group, -1).transpose(3, 0, 4, 1, 2)
    return grouped.reshape(layer.group, count, -1)


def gram(codes: np.ndarray) -> np.ndarray:
    """Sums of products of int8 codes over windows, float64 (G, K, K), exact and so the same on any machine.

    Parameters
    ----------
    codes : float32 (G, windows, K)
        Integers of magnitude up to 128.
    """
    total = np.zeros((codes.shape[0], codes.shape[2], codes.shape[2]))
    for first in range(0, codes.shape[1], _EXACT_ROWS):
        part = codes[:, first : first + _EXACT_ROWS]
        total += np.matmul(part.transpose(0, 2, 1), part)
    return total
