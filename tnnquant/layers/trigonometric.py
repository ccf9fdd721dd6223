"""Trigonometric functions of one blob (docs/tnn-format.md, 5.3)."""

from __future__ import annotations

import numpy as np

from tnnquant.layers.base import layer
from tnnquant.layers.elementwise import Unary, in_double

__all__ = ["Acos", "Asin", "Atan", "Cos", "Sin", "Tan"]


@layer(178, "Cos")
class Cos(Unary):
    """Cosine."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return in_double(np.cos, x)


@layer(179, "Acos")
class Acos(Unary):
    """Arc cosine; NaN outside -1..1."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return in_double(np.arccos, x)


@layer(180, "Sin")
class Sin(Unary):
    """Sine."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return in_double(np.sin, x)


@layer(181, "Asin")
class Asin(Unary):
    """Arc sine; NaN outside -1..1."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return in_double(np.arcsin, x)


@layer(182, "Tan")
class Tan(Unary):
    """Tangent."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return in_double(np.tan, x)


@layer(183, "Atan")
class Atan(Unary):
    """Arc tangent."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return in_double(np.arctan, x)
