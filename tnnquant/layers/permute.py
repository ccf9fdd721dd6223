"""Permute: reorder the axes."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Permute"]


@layer(32, "Permute", "QuantizedPermute")
class Permute(Layer):
    """Output axis ``i`` is input axis ``orders[i]``."""

    orders: tuple = param("ints")
