"""ReLU, ReLU6, Clip: a blob between two bounds (reference, 5.3, 6.5)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, QuantRole, layer, param

__all__ = ["Clip", "Relu", "Relu6"]


@layer(5, "ReLU", "Relu", "QuantizedReLU")
class Relu(Layer):
    """max(0, x)."""

    QUANT = QuantRole.PASS
    KEEPS_ZERO_POINT = False


@layer(125, "ReLU6", "Relu6")
class Relu6(Layer):
    """min(6, max(0, x))."""


@layer(171, "Clip")
class Clip(Layer):
    """max(min, min(max, x)). Absent bounds are 0, not open."""

    min: float = param("float", 0.0)
    max: float = param("float", 0.0)
