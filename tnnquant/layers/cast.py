"""Cast and BitShift: the integers of a blob (reference, 5.3, 5.4)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["BitShift", "Cast"]


@layer(103, "Cast")
class Cast(Layer):
    """Another data type."""

    to: int = param("int", 0)


@layer(313, "BitShift")
class BitShift(Layer):
    """Shift of unsigned 32-bit integers; ``direction`` 0 is right."""

    direction: int = param("int", 0)
    bits: int = param("int", 0)
