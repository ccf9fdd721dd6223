"""Rounding half away from zero, as TNN does; Python's and Numba's ``round`` go to even."""

from __future__ import annotations

import numpy as np

from tnnquant.kernels.jit import inline

__all__ = ["clamp_i8", "round_half_away"]

#: The float32 below a half: 0.49999997 + 0.5 would be rounded up to 1, and a half plus this still is.
_HALF = np.nextafter(np.float32(0.5), np.float32(0))
_LOW, _HIGH = np.float32(-127), np.float32(127)


@inline
def round_half_away(x):
    """The nearest integer of a float32, halves away from zero, as float32; exact for every x."""
    return np.float32(np.trunc(x + (_HALF if x >= np.float32(0) else -_HALF)))


@inline
def clamp_i8(x):
    """A float32 limited to -127..127."""
    x = _HIGH if x > _HIGH else x
    return _LOW if x < _LOW else x
