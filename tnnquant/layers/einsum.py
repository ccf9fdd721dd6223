"""Einstein summation (reference, 4.4, 5.7, 9)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Einsum"]


@layer(321, "Einsum")
class Einsum(Layer):
    """Sum of products over labelled axes; operands are separated by ``;`` because a comma ends the line."""

    equation: str = param("str", default="")
