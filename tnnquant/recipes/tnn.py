"""The original's methods, as the flags say."""

from __future__ import annotations

from tnnquant.quantize import quantize_graph
from tnnquant.recipes.base import recipe

__all__ = ["tnn"]

tnn = recipe(0, "tnn")(quantize_graph)
