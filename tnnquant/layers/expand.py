"""Expand and Tile: repeat a blob along its axes."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Expand", "Tile"]


@layer(304, "Expand")
class Expand(Layer):
    """Broadcast to ``shape``, aligned on the right."""

    shape: tuple = param("ints", default=())


@layer(148, "Tile", "Repeat")
class Tile(Layer):
    """Repeat the whole blob ``reps[i]`` times along axis ``i``, aligned on the right."""

    reps: tuple = param("rest")
