"""Shape, Size, Range and ConstantOfShape: blobs made of dims and constants."""

from __future__ import annotations

from tnnquant.layers.base import Layer, TensorField, layer

__all__ = ["ConstantOfShape", "Range", "Shape", "Size"]


@layer(72, "Shape")
class Shape(Layer):
    """The dims of the input."""

    FOLDS_SHAPE = True


@layer(312, "Size")
class Size(Layer):
    """The number of elements of the input."""


@layer(311, "Range")
class Range(Layer):
    """``start, start + delta, ...`` below ``limit``; inputs start, limit, delta."""


@layer(308, "ConstantOfShape")
class ConstantOfShape(Layer):
    """A blob of the dims its input lists, filled with one value."""

    RESOURCE = (TensorField("value"),)
