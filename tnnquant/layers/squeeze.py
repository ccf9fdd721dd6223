"""Squeeze and Unsqueeze: remove and insert dims of 1."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Squeeze", "Unsqueeze"]


@layer(118, "Squeeze")
class Squeeze(Layer):
    """Remove axes of dim 1."""

    axes: tuple = param("ints", default=())


@layer(164, "Unsqueeze")
class Unsqueeze(Layer):
    """Insert axes of dim 1."""

    axes: tuple = param("ints", default=())
