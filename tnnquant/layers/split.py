"""SplitV and Split: one blob into several."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Split", "SplitV"]


@layer(153, "SplitV")
class SplitV(Layer):
    """Cut along ``axis`` into pieces of the sizes ``slices``; without sizes, into equal pieces."""

    axis: int = param(default=0)
    slices: tuple = param("ints", default=())


@layer(7, "Split")
class Split(Layer):
    """Every output is the input."""
