"""TNN's three weight methods (docs/tnn-format.md, 7.7.1)."""

from __future__ import annotations

import numpy as np

from tnnquant.weights.base import weight_method

__all__ = ["admm", "asymmetric", "minmax"]

Quantized = tuple[np.ndarray, np.ndarray, np.ndarray]


def _results(weights: np.ndarray) -> Quantized:
    groups = len(weights)
    return np.empty(weights.shape, np.int8), np.empty(groups, np.float32), np.zeros(groups, np.int8)


@weight_method(0, "minmax")
def minmax(weights: np.ndarray) -> Quantized:
    """``scale = max|w| / 127``."""
    from tnnquant.kernels import weights_range

    codes, scales, zero_points = _results(weights)
    weights_range.minmax(weights, codes, scales)
    return codes, scales, zero_points


@weight_method(1, "admm")
def admm(weights: np.ndarray) -> Quantized:
    """Codes and scale refined alternately until they no longer change; starts by clipping 20 % of the range."""
    from tnnquant.kernels.admm import admm as solve

    codes, scales, zero_points = _results(weights)
    solve(weights, codes, scales)
    return codes, scales, zero_points


@weight_method(3, "asymmetric")
def asymmetric(weights: np.ndarray) -> Quantized:
    """From the lowest to the highest weight, 0 included, in 254 steps."""
    from tnnquant.kernels import weights_range

    codes, scales, zero_points = _results(weights)
    weights_range.asymmetric(weights, codes, scales, zero_points)
    return codes, scales, zero_points
