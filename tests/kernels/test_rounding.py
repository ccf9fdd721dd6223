"""Rounding half away from zero, against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tnnquant.kernels.jit import kernel
from tnnquant.kernels.rounding import clamp_i8, round_half_away


@kernel
def _round_all(x, out):
    # x, out: float32 (n,)
    for i in range(x.shape[0]):
        out[i] = round_half_away(x[i])


@kernel
def _clamp_all(x, out):
    # x, out: float32 (n,)
    for i in range(x.shape[0]):
        out[i] = clamp_i8(x[i])


def _rounded(values):
    x = np.asarray(values, np.float32)
    out = np.empty_like(x)
    _round_all(x, out)
    return out


def _exact(value):
    whole = math.floor(abs(Fraction(float(value))) + Fraction(1, 2))
    return math.copysign(whole, value)


def test_halves_go_away_from_zero():
    np.testing.assert_array_equal(_rounded([0.5, 1.5, 2.5, 126.5]), [1, 2, 3, 127])
    np.testing.assert_array_equal(_rounded([-0.5, -1.5, -2.5, -126.5]), [-1, -2, -3, -127])


def test_whole_numbers_stay():
    whole = np.arange(-300, 301, dtype=np.float32)
    np.testing.assert_array_equal(_rounded(whole), whole)


def test_neighbours_of_every_half_are_exact():
    halves = np.arange(-300, 300, dtype=np.float32) + np.float32(0.5)
    up, down = np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))
    for values in (up, halves, down):
        np.testing.assert_array_equal(_rounded(values), [_exact(v) for v in values])


@pytest.mark.parametrize("power", [-149, -126, -24, -2, 21, 22, 23, 24, 31, 100])
def test_exact_at_every_magnitude(rng, power):
    values = np.ldexp(1 + rng.random(200), power).astype(np.float32)
    values = np.concatenate([values, -values])
    np.testing.assert_array_equal(_rounded(values), [_exact(v) for v in values])


def test_signs_are_symmetric(rng):
    x = (rng.standard_normal(1000) * 50).astype(np.float32)
    np.testing.assert_array_equal(_rounded(-x), -_rounded(x))


def test_clamp_is_symmetric():
    x = np.array([-1e30, -128, -127, -126.5, 0, 126.5, 127, 128, 1e30, np.inf, -np.inf], np.float32)
    out = np.empty_like(x)
    _clamp_all(x, out)
    np.testing.assert_array_equal(out, [-127, -127, -127, -126.5, 0, 126.5, 127, 127, 127, 127, -127])
