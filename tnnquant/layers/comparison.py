"""Comparisons and selection: Greater, Less, Equal, Where (reference, 4.4, 5.3, 9)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, TensorField, layer, param

__all__ = ["Equal", "Greater", "Less", "Where"]


@layer(333, "Greater")
class Greater(Layer):
    """a > b (INT8 0 or 1)."""

    weight_input_index: int = param("int", 1)

    RESOURCE = (TensorField("element"),)


@layer(334, "Less")
class Less(Layer):
    """a < b (INT8 0 or 1)."""

    weight_input_index: int = param("int", 1)

    RESOURCE = (TensorField("element"),)


@layer(324, "Equal")
class Equal(Layer):
    """a == b (INT8 0 or 1)."""


@layer(325, "Where")
class Where(Layer):
    """The inputs are x, y, condition (INT8): x where the condition is not 0, else y."""
