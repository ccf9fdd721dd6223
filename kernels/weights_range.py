"""Weight quantization from the range of each group (docs/tnn-format.md, 7.7.1): symmetric and asymmetric min-max.

Versions: the naive twins, value by value; the ops, one task per few groups.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.rounding import clamp_i8, round_half_away
from tnnquant.kernels.simd import f32_view, i8_view, words

__all__ = ["asymmetric", "asymmetric_naive", "minmax", "minmax_naive"]

_HIGH = np.float32(127)
_ZERO, _ONE = np.float32(0), np.float32(1)
_TINY = np.finfo(np.float32).tiny
_ELEMENTS = 16384  # weights of a task, about


@inline
def _usable(scale):
    """The scale, or 0 for a subnormal one, which has no inverse: so small weights count as zeros."""
    return scale if scale >= _TINY else _ZERO


@inline
def _inverse(scale):
    return _ONE / scale if scale > _ZERO else _ZERO


@inline
def _range(weights):
    # weights: float32 (n,). The range, 0 included
    low = high = _ZERO
    for w in weights:
        low = w if w < low else low
        high = w if w > high else high
    return low, high


@kernel
def minmax_naive(weights, codes, scales):
    # weights: float32 (groups, n); codes: int8 (groups, n); scales: float32 (groups,)
    for g in range(weights.shape[0]):
        low, high = _range(weights[g])
        scales[g] = _usable(max(-low, high) / np.float32(127))
        inverse = _inverse(scales[g])
        for j in range(weights.shape[1]):
            codes[g, j] = np.int8(clamp_i8(round_half_away(weights[g, j] * inverse)))


@kernel
def asymmetric_naive(weights, codes, scales, zero_points):
    # weights: float32 (groups, n); codes: int8 (groups, n); scales: float32 (groups,); zero_points: int8 (groups,)
    for g in range(weights.shape[0]):
        low, high = _range(weights[g])
        scales[g] = _usable((high - low) / np.float32(254))
        inverse = _inverse(scales[g])
        zero_points[g] = np.int8(_HIGH - round_half_away(high * inverse)) if inverse > _ZERO else np.int8(0)
        for j in range(weights.shape[1]):
            q = round_half_away(weights[g, j] * inverse) + np.float32(zero_points[g])
            codes[g, j] = np.int8(clamp_i8(q))


@kernel
def _quantize_row(weights, codes, inverse, zero_point):
    # weights: float32 (n,); codes: int8 (n,); inverse, zero_point: float32
    for j in range(weights.size):
        codes[j] = np.int8(clamp_i8(round_half_away(weights[j] * inverse) + zero_point))


@kernel
def _range_task(op, index, scratch):
    # op words from ARGS on: addresses of weights float32 (groups, n), codes int8 (groups, n), scales float32 (groups,),
    # zero points int8 (groups,) or 0: symmetric; groups, n, groups per task
    args = words(op, program.WORDS)[program.ARGS :]
    groups, n, together = args[4], args[5], args[6]
    scales = f32_view(args[2], groups)
    for g in range(index * together, min(index * together + together, groups)):
        weights = f32_view(args[0] + 4 * n * g, n)
        low, high = _range(weights)
        zero_point = _ZERO
        if args[3]:
            scale = _usable((high - low) / np.float32(254))
            inverse = _inverse(scale)
            if inverse > _ZERO:
                zero_point = _HIGH - round_half_away(high * inverse)
            i8_view(args[3], groups)[g] = np.int8(zero_point)
        else:
            scale = _usable(max(-low, high) / np.float32(127))
            inverse = _inverse(scale)
        scales[g] = scale
        _quantize_row(weights, i8_view(args[1] + n * g, n), inverse, zero_point)


def _run(weights: np.ndarray, codes: np.ndarray, scales: np.ndarray, zero_points: np.ndarray | None) -> None:
    groups, n = weights.shape
    together = max(1, _ELEMENTS // max(n, 1))
    args = [program.data_address(array) for array in (weights, codes, scales, zero_points)]
    if groups:
        program.run(program.new_op(_range_task, -(-groups // together), 0, [*args, groups, n, together]))


def minmax(weights: np.ndarray, codes: np.ndarray, scales: np.ndarray) -> None:
    """``s = max|w| / 127``, ``q = clamp(round(w * (1/s)))``, every operation in float32.

    Parameters
    ----------
    weights : float32 (groups, n)
        C-contiguous, finite.
    codes : int8 (groups, n)
        Written: -127..127; 0 in a group of zeros.
    scales : float32 (groups,)
        Written; 0 for a group of zeros.
    """
    _run(weights, codes, scales, None)


def asymmetric(weights: np.ndarray, codes: np.ndarray, scales: np.ndarray, zero_points: np.ndarray) -> None:
    """``s = (high - low) / 254``, the range including 0; ``z = 127 - round(high/s)``; ``q = clamp(round(w/s) + z)``.

    Parameters
    ----------
    weights, codes, scales
        As for :func:`minmax`. A group of zeros, on which TNN fails, has scale, zero point and codes 0.
    zero_points : int8 (groups,)
        Written: -127..127.
    """
    _run(weights, codes, scales, zero_points)
