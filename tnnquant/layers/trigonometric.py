"""Trigonometric functions of one blob (reference, 5.3)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer

__all__ = ["Acos", "Asin", "Atan", "Cos", "Sin", "Tan"]


@layer(178, "Cos")
class Cos(Layer):
    """Cosine."""


@layer(179, "Acos")
class Acos(Layer):
    """Arc cosine."""


@layer(180, "Sin")
class Sin(Layer):
    """Sine."""


@layer(181, "Asin")
class Asin(Layer):
    """Arc sine."""


@layer(182, "Tan")
class Tan(Layer):
    """Tangent."""


@layer(183, "Atan")
class Atan(Layer):
    """Arc tangent."""
