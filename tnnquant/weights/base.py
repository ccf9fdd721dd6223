"""Registry of weight methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tnnquant.base.registry import Registry

__all__ = ["REGISTRY", "WeightMethod", "weight_method"]

WeightMethod: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]

REGISTRY: Registry[WeightMethod] = Registry("weight method", "tnnquant.weights")


def weight_method(code: int, name: str) -> Callable[[WeightMethod], WeightMethod]:
    """Decorator: register ``function(weights) -> codes, scales, zero_points`` under TNN's number and a name.

    ``weights`` is float32 (groups, n), C-contiguous and finite; the results are int8 (groups, n), float32 (groups,) and
    int8 (groups,), with ``weights = (codes - zero_points) * scales``. A group of zeros must not fail.
    """
    return REGISTRY.register(name, code)
