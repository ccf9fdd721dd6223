"""Sampling of an image at given points (reference, 4.4, 5.7)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["GridSample"]


@layer(323, "GridSample")
class GridSample(Layer):
    """Bilinear samples of (N, C, H, W) at the points (x, y), in -1..1, of a grid (N, OH, OW, 2)."""

    mode: int = param(default=2)
    pad_type: int = param(default=0)
    align_corners: int = param(default=0)
