"""Layers that multiply a blob by a gate made of it or of another: HardSwish, GLU, SignedMul (reference, 5.3)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Glu", "HardSwish", "SignedMul"]


@layer(173, "HardSwish")
class HardSwish(Layer):
    """x0 * max(min(x1 * alpha + beta, 1), 0), with x1 the second input if there is one, else x0."""

    alpha: float = param("float", 1.0)
    beta: float = param("float", 0.0)


@layer(402, "GLU")
class Glu(Layer):
    """a / (1 + exp(-b)) of the two halves a, b along an axis."""

    axis: int = param("int", -1)


@layer(196, "SignedMul")
class SignedMul(Layer):
    """(sign(x - alpha) + beta) / gamma, every channel multiplied by channel 0."""

    alpha: float = param("float")
    beta: float = param("float")
    gamma: float = param("float")
