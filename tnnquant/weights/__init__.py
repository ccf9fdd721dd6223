"""Weight methods: functions from fp32 to int8 weights, and what a layer makes of them.

A new one is one module here with ``@weight_method(code, "name")``.
"""

from __future__ import annotations

from tnnquant.weights.base import REGISTRY, weight_method
from tnnquant.weights.layer import LayerWeights, quantize_layer

__all__ = ["LayerWeights", "method_codes", "quantize_layer", "weight_method"]


def method_codes() -> dict[int, str]:
    """Names of the methods by the numbers of TNN's ``-w``."""
    return REGISTRY.codes()
