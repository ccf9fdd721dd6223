"""Reshape and Flatten: the same elements under other dims."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Flatten", "Reshape"]


@layer(9, "Reshape", "QuantizedReshape", "QuantizedReshapeTensorflow")
class Reshape(Layer):
    """New dims for the axes ``axis`` .. ``axis + num_axes``; 0 keeps a dim, one -1 is inferred."""

    axis: int = param(default=0)
    num_axes: int = param(default=0)
    shape: tuple = param("ints", default=())
    reshape_type: int = param(default=0)


@layer(10, "Flatten", "Flatten_nhwc")
class Flatten(Layer):
    """Two dims: the product of those before ``axis``, the product of the rest."""

    axis: int = param()
