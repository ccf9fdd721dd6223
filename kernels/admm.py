"""TNN's ADMM weight quantization (reference, 7.7.1): alternate between codes and scale, a thread a group of weights.

``q = clamp(round(w / (s + 1e-9)))`` and ``s = sum(w*q) / (sum(q*q) + 1e-9)``, from ``s = max|w| / (127*1.25)``. TNN
always does 1000 rounds. Its sums are sequential float32 sums, and large groups show their rounding in the scale, so
they are repeated here term by term; the two chains of additions and the division overlap in the processor.

* :func:`admm_naive`: 1000 rounds.
* :func:`admm`: stops as soon as the scale is one seen in the last rounds, which repeats for ever: the same codes and
  scale as after 1000 rounds. Usually after 10-60.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.rounding import clamp_i8, round_half_away

__all__ = ["ROUNDS", "admm", "admm_naive"]

ROUNDS = 1000
_EPSILON = np.float32(1e-9)
_MEMORY = 8


@inline
def _first_scale(line):
    # line: float32 (n,)
    peak = np.float32(0)
    for j in range(line.shape[0]):
        peak = max(peak, np.float32(abs(line[j])))
    return np.float32(np.float64(peak) / (127.0 * 1.25))


@inline
def _next_scale(line, codes, scale):
    # line: float32 (n,); codes: int8 (n,), written: those of `scale`. Returns the scale that fits them best.
    divisor = scale + _EPSILON
    cross, square = np.float32(0), np.float32(0)
    for j in range(line.shape[0]):
        q = clamp_i8(round_half_away(line[j] / divisor))
        codes[j] = np.int8(q)
        cross += line[j] * q
        square += q * q
    return cross / (square + _EPSILON)


@kernel
def admm_naive(weights, codes, scales):
    # weights: float32 (groups, n); codes: int8 (groups, n); scales: float32 (groups,)
    for g in range(weights.shape[0]):
        scale = _first_scale(weights[g])
        for _ in range(ROUNDS):
            scale = _next_scale(weights[g], codes[g], scale)
        scales[g] = scale


@kernel(parallel=True)
def admm(weights, codes, scales):
    # weights: float32 (groups, n); codes: int8 (groups, n); scales: float32 (groups,)
    for g in prange(weights.shape[0]):
        scale = _first_scale(weights[g])
        seen = np.full(_MEMORY, np.float32(-1), np.float32)
        rounds = 0
        while rounds < ROUNDS:
            seen[rounds % _MEMORY] = scale
            scale = _next_scale(weights[g], codes[g], scale)
            rounds += 1
            period = 0
            for back in range(_MEMORY):
                if seen[(rounds - 1 - back) % _MEMORY] == scale and rounds > back:
                    period = back + 1
                    break
            if period:
                # Round r and round r + period give the same: skip all whole periods that are left. What was seen before
                # would then be at wrong places.
                rounds = ROUNDS - (ROUNDS - rounds) % period
                seen[:] = np.float32(-1)
        scales[g] = scale
