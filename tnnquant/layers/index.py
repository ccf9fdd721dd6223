"""NonZero, OneHot, Histogram: from values to places and back."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Histogram", "NonZero", "OneHot"]


@layer(309, "NonZero")
class NonZero(Layer):
    """The coordinates of the elements that are not zero, one row an axis."""


@layer(319, "OneHot")
class OneHot(Layer):
    """A new axis of ``depth``, ``value_on`` at the index, ``value_off`` elsewhere."""

    axis: int = param(default=-1)
    depth: int = param(default=-1)
    value_off: float = param("float", default=0.0)
    value_on: float = param("float", default=1.0)


@layer(314, "Histogram")
class Histogram(Layer):
    """How often each of the integers 0 .. ``depth - 1`` occurs."""

    depth: int = param(default=0)
