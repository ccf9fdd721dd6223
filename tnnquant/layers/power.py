"""Power: an affine function raised to a power (reference, 5.3)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Power"]


@layer(69, "Power")
class Power(Layer):
    """(x * scale + shift) ** exponent."""

    exponent: float = param("float", 1.0)
    scale: float = param("float", 1.0)
    shift: float = param("float", 0.0)
