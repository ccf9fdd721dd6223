"""Scales of int8 layers that make TNN round as ONNX does.

Both multiply an int32 sum by one float32 factor. ONNX rounds halves to even and adds the zero point; TNN rounds halves
away from 0 and has no zero point: a whole number is added to the sum instead. So the results differ by one where a
product is a half, and where the zero point is no whole number of steps of the sum. A factor a few units in the last
place (with a zero point, a few millionths) away gives the same codes for all sums, or for more of them.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from tnnquant.onnx.qdq.record import BlobCodes

__all__ = ["factor_of_codes", "matched", "sum_of_codes"]

_LOWEST, _HIGHEST = -128, 127
#: Neighbours of a scale that are tried, in units of the last place; the nearest of the best is taken.
_NUDGES = (0, -1, 1, -2, 2, -3, 3, -4, 4, -6, 6, -8, 8)
#: Weight of a code when faults are counted: halved for so many codes of distance from the zero point.
_HALVES = 32.0


def matched(step: np.ndarray, scale: np.ndarray, zero: int) -> tuple[np.ndarray, np.ndarray]:
    """The scales to store, and what is added to the sums for the zero point of the output.

    Parameters
    ----------
    step : float32 (C,)
        Scale of the input times those of the weights.
    scale : float32 (C,)
        Of the output.
    zero : int
        The code of the output that means 0.

    Returns
    -------
    step : float32 (C,)
    summand : int64 (C,)
    """
    with np.errstate(all="ignore"):
        factor = (step / scale).astype(np.float32)
        summand = np.where(factor > 0, np.rint(zero / factor.astype(np.float64)), 0)
        # With this scale the summand is exact, at the cost of sums far from it.
        exact = np.where(summand != 0, zero / summand * scale.astype(np.float64), step).astype(np.float32)
    summand = np.clip(np.nan_to_num(summand), -(2**31), 2**31 - 1).astype(np.int64)
    found, best = step.astype(np.float32).copy(), np.full(step.size, np.inf)
    left = np.flatnonzero(np.isfinite(factor) & (factor > 0) & (factor < 1))
    for start in (found.copy(), exact) if zero else (found.copy(),):
        for nudge in _NUDGES:
            left = left[best[left] > 0]
            tried = (start[left].view(np.int32) + np.int32(nudge)).view(np.float32)
            wrong = _wrong(factor[left], tried, scale[left], summand[left], zero)
            better = wrong < best[left]
            found[left[better]], best[left[better]] = tried[better], wrong[better]
    return found, summand


def _wrong(factor: np.ndarray, step: np.ndarray, scale: np.ndarray, summand: np.ndarray, zero: int) -> np.ndarray:
    """How many sums next to a change of the code get another code than in ONNX, weighted, float64 (C,)."""
    codes = np.arange(_LOWEST - zero, _HIGHEST - zero)
    sums = np.floor((codes + 0.5) / factor.astype(np.float64)[:, None])[..., None] + np.arange(-1, 3)
    sums = np.clip(sums, -(2.0**31), 2.0**31 - 1)
    wanted = np.rint(sums.astype(np.float32) * factor[:, None, None]) + np.float32(zero)
    mine = (sums + summand[:, None, None]).astype(np.float32) * (step / scale).astype(np.float32)[:, None, None]
    got = np.trunc(np.abs(mine) + np.float32(0.5)) * np.sign(mine)
    differ = np.clip(wanted, _LOWEST, _HIGHEST) != np.clip(got, _LOWEST, _HIGHEST)
    weights: np.ndarray = (differ.any(axis=-1) * 2.0 ** (-np.abs(codes) / _HALVES)).sum(axis=1)
    return weights


def factor_of_codes(read: BlobCodes, made: BlobCodes) -> np.float32 | None:
    """By what ``code - zero`` of all 256 codes is to be multiplied, so that rounding gives the codes that ONNX makes of
    their values; None if there is no such factor next to the quotient of the scales.

    Parameters
    ----------
    read, made : BlobCodes
        With one scale each.
    """
    steps = np.arange(_LOWEST, _HIGHEST + 1).astype(np.float32) - np.float32(read.zero[0])
    low, high = _LOWEST - made.zero[0], _HIGHEST - made.zero[0]
    wanted = np.clip(np.rint(steps * read.scale[0] / made.scale[0]), low, high)
    start = np.float32(read.scale[0] / made.scale[0])
    for nudge in _NUDGES:
        factor: np.float32 = _nudged(start, nudge)
        if np.array_equal(np.clip(np.rint(steps * factor), low, high), wanted):
            return factor
    return None


def sum_of_codes(a: BlobCodes, b: BlobCodes, made: BlobCodes) -> tuple[np.float32, np.float32, np.float32]:
    """Factors of the codes of two blobs and a summand, whose sum rounds to the codes that onnxruntime makes of the two.

    It multiplies and adds in one rounding on x86; here each is rounded. The numbers are moved by units in the last
    place until all pairs of codes agree; where none does for all, the best is taken.

    Parameters
    ----------
    a, b, made : BlobCodes
        With one scale each.
    """
    first, second = a.scale[0] / made.scale[0], b.scale[0] / made.scale[0]
    low = 0 if made.is_unsigned else _LOWEST
    high = low + _HIGHEST - _LOWEST
    zeros = np.float32(second * np.float32(b.stored_zero))
    zeros = np.float32(np.float64(first) * a.stored_zero + np.float64(zeros))
    constant = np.float32(np.float32(made.stored_zero) - zeros)
    left, right = (
        (np.arange(_LOWEST, _HIGHEST + 1) + (128 if codes.is_unsigned else 0)).astype(np.float64) for codes in (a, b)
    )
    inner = (right * np.float64(second) + np.float64(constant)).astype(np.float32)
    wanted = (left[:, None] * np.float64(first) + inner[None].astype(np.float64)).astype(np.float32)
    wanted = np.clip(np.rint(wanted), low, high)
    best, fewest = (first, second, constant), left.size * right.size + 1
    for nudges in sorted(product((0, -1, 1, -2, 2), repeat=3), key=lambda three: sum(map(abs, three))):
        p, q, s = (_nudged(value, nudge) for value, nudge in zip((first, second, constant), nudges, strict=True))
        sums = left.astype(np.float32)[:, None] * p + (right.astype(np.float32) * q + s)[None]
        differing = int(np.count_nonzero(np.clip(np.rint(sums), low, high) != wanted))
        if differing < fewest:
            best, fewest = (p, q, s), differing
        if not fewest:
            break
    return best


def _nudged(value: np.float32, units: int) -> np.float32:
    """The number so many units in the last place away."""
    moved: np.float32 = (np.asarray(value, np.float32).reshape(1).view(np.int32) + np.int32(units)).view(np.float32)[0]
    return moved
