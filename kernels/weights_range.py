"""Weight quantization from the range of each group (reference, 7.7.1): symmetric and asymmetric min-max."""

from __future__ import annotations

import numpy as np
from numba import prange

from tnnquant.kernels.jit import kernel
from tnnquant.kernels.rounding import clamp_i8, round_half_away

__all__ = ["asymmetric", "minmax"]

_ONE, _ZERO = np.float32(1), np.float32(0)
#: Smaller scales (subnormal numbers) have no inverse; a group of so small weights counts as zeros.
_TINY = np.finfo(np.float32).tiny


@kernel
def _minmax_group(weights, g, codes, scales):
    # See minmax; one group.
    peak = _ZERO
    for j in range(weights.shape[1]):
        peak = max(peak, np.float32(abs(weights[g, j])))
    scale = peak / np.float32(127)
    scale = scale if scale >= _TINY else _ZERO
    inverse = _ONE / scale if scale > _ZERO else _ZERO
    for j in range(weights.shape[1]):
        codes[g, j] = np.int8(clamp_i8(round_half_away(weights[g, j] * inverse)))
    scales[g] = scale


@kernel(parallel=True)
def minmax(weights, codes, scales):
    # weights: float32 (groups, n); codes: int8 (groups, n); scales: float32 (groups,), 0 for a group of zeros
    for g in prange(weights.shape[0]):
        _minmax_group(weights, np.int64(g), codes, scales)


@kernel
def _asymmetric_group(weights, g, codes, scales, zero_points):
    # See asymmetric; one group.
    low, high = _ZERO, _ZERO
    for j in range(weights.shape[1]):
        low = min(low, weights[g, j])
        high = max(high, weights[g, j])
    scale = (high - low) / np.float32(254)
    scale = scale if scale >= _TINY else _ZERO
    # A group of zeros, on which TNN's whole run fails, has scale 0 and codes 0, as under min-max.
    inverse = _ONE / scale if scale > _ZERO else _ZERO
    zero = np.float32(127) - round_half_away(high * inverse) if scale > _ZERO else _ZERO
    zero_points[g] = np.int8(zero)
    for j in range(weights.shape[1]):
        codes[g, j] = np.int8(clamp_i8(round_half_away(weights[g, j] * inverse) + zero))
    scales[g] = scale


@kernel(parallel=True)
def asymmetric(weights, codes, scales, zero_points):
    # weights: float32 (groups, n); codes: int8 (groups, n); scales: float32 (groups,); zero_points: int8 (groups,)
    for g in prange(weights.shape[0]):
        _asymmetric_group(weights, np.int64(g), codes, scales, zero_points)
