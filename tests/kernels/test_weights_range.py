"""Weights quantized from their range, against the reference's formulas in NumPy's float32."""

import numba
import numpy as np
import pytest

from tnnquant.kernels.weights_range import asymmetric, minmax

ONE = np.float32(1)


def _round(x):
    return np.copysign(np.floor(np.abs(x).astype(np.float64) + 0.5), x)


def _minmax(weights):
    codes, scales = np.full(weights.shape, 99, np.int8), np.full(len(weights), 9, np.float32)
    minmax(weights, codes, scales)
    return codes, scales


def _asymmetric(weights):
    codes, scales = np.full(weights.shape, 99, np.int8), np.full(len(weights), 9, np.float32)
    zero_points = np.full(len(weights), 99, np.int8)
    asymmetric(weights, codes, scales, zero_points)
    return codes, scales, zero_points


def _groups(rng, groups, n):
    """Groups of several magnitudes, one of them without negative and one without positive weights."""
    weights = (rng.standard_normal((groups, n)) * 10.0 ** rng.integers(-4, 3, (groups, 1))).astype(np.float32)
    weights[0] = np.abs(weights[0])
    weights[-1] = -np.abs(weights[-1])
    return weights


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (17, 9), (3, 600)])
def test_minmax_formula(rng, shape):
    weights = _groups(rng, *shape)
    codes, scales = _minmax(weights)
    want = np.maximum(np.abs(weights.min(axis=1)), np.abs(weights.max(axis=1))) / np.float32(127)
    np.testing.assert_array_equal(scales, want)
    np.testing.assert_array_equal(codes, np.clip(_round(weights * (ONE / want)[:, None]), -127, 127))
    assert (np.abs(codes).max(axis=1) == 127).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (17, 9), (3, 600)])
def test_asymmetric_formula(rng, shape):
    weights = _groups(rng, *shape)
    codes, scales, zero_points = _asymmetric(weights)
    low, high = np.minimum(weights.min(axis=1), 0), np.maximum(weights.max(axis=1), 0)
    want = (high - low) / np.float32(254)
    inverse = ONE / want
    zero = 127 - _round(high * inverse)
    np.testing.assert_array_equal(scales, want)
    np.testing.assert_array_equal(zero_points, zero)
    np.testing.assert_array_equal(codes, np.clip(_round(weights * inverse[:, None]) + zero[:, None], -127, 127))
    back = (codes.astype(np.float32) - zero_points[:, None]) * scales[:, None]
    assert (np.abs(back - weights) <= scales[:, None] * 1.0001).all()


def test_halves_go_away_from_zero():
    codes, scales = _minmax(np.array([[127, 0.5, 1.5, 2.5, -0.5, -2.5]], np.float32))
    assert scales[0] == 1
    np.testing.assert_array_equal(codes[0], [127, 1, 2, 3, -1, -3])


def test_one_sided_weights_use_all_steps():
    codes, scales, zero_points = _asymmetric(np.array([[0, 127, 254], [-254, -127, 0]], np.float32))
    np.testing.assert_array_equal(scales, 1)
    np.testing.assert_array_equal(zero_points, [-127, 127])
    np.testing.assert_array_equal(codes, [[-127, 0, 127], [-127, 0, 127]])


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-42, -1e-45, 1e-37])
def test_zeros_and_weights_without_an_inverse(rng, value):
    """TNN's run fails on a group of zeros under asymmetric; a scale that is subnormal has no inverse in float32."""
    weights = rng.standard_normal((3, 20)).astype(np.float32)
    weights[1] = 0
    weights[1, 3] = value
    for codes, scales, zero_points in ((*_minmax(weights), np.zeros(3, np.int8)), _asymmetric(weights)):
        assert not codes[1].any()
        assert scales[1] == 0
        assert zero_points[1] == 0
        assert (scales[[0, 2]] > 0).all()
        assert codes[[0, 2]].any()


def test_the_number_of_threads_does_not_matter(rng):
    weights = _groups(rng, 33, 40)
    want, before = [*_minmax(weights), *_asymmetric(weights)], numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        got = [*_minmax(weights), *_asymmetric(weights)]
    finally:
        numba.set_num_threads(before)
    assert [a.tobytes() for a in got] == [a.tobytes() for a in want]
