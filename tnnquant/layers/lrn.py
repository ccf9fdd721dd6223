"""LRN: division by the energy of neighbouring channels (reference, 5.5)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Lrn"]


@layer(12, "LRN")
class Lrn(Layer):
    """x / (bias + alpha / size * sum of x**2 over the channels around) ** beta."""

    alpha: float = param("float")
    beta: float = param("float")
    bias: float = param("float")
    size: int = param("int")
