"""Inverse of matrices (reference, 5.7)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer

__all__ = ["Inverse"]


@layer(322, "Inverse")
class Inverse(Layer):
    """Inverse of the matrices in the last two axes."""
