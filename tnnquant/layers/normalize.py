"""Normalize: division by a norm over the channels (reference, 5.5)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Normalize"]


@layer(45, "Normalize")
class Normalize(Layer):
    """x / d, d the norm of the channels of a pixel: ``p`` 1, 2, INT_MAX (maximum) or INT_MIN (minimum)."""

    across_spatial: int = param("int", 0)
    epsilon: float = param("float", 9.999999960041972e-13)
    channel_shared: int = param("int", 1)
    axis: int = param("int", 1)
    p: int = param("int", 2)
