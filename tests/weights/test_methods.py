"""What all weight methods promise: types, groups of zeros, and weights that come back."""

import numpy as np
import pytest

from tnnquant.weights.base import REGISTRY

METHODS = ("minmax", "admm", "asymmetric")


def _back(codes, scales, zero_points):
    return (codes.astype(np.float64) - zero_points[:, None]) * scales[:, None]


@pytest.mark.parametrize("method", METHODS)
def test_types_and_error(rng, method):
    weights = (rng.standard_normal((6, 40)) * 0.1).astype(np.float32)
    codes, scales, zero_points = REGISTRY.find(method)(weights)
    assert (codes.dtype, codes.shape) == (np.int8, (6, 40))
    assert (scales.dtype, scales.shape) == (np.float32, (6,))
    assert (zero_points.dtype, zero_points.shape) == (np.int8, (6,))
    assert codes.min() >= -127
    error = np.abs(_back(codes, scales, zero_points) - weights)
    if method == "admm":  # clips the largest weights
        assert np.sqrt((error**2).mean()) < scales.max()
    else:
        assert (error <= scales[:, None] * (0.501 if method == "minmax" else 1.001)).all()
    if method != "asymmetric":
        assert not zero_points.any()


@pytest.mark.parametrize("method", METHODS)
def test_zeros(rng, method):
    weights = np.zeros((3, 7), np.float32)
    weights[1] = rng.standard_normal(7)
    codes, scales, zero_points = REGISTRY.find(method)(weights)
    assert not codes[[0, 2]].any()
    assert not scales[[0, 2]].any()
    assert not zero_points[[0, 2]].any()
    assert codes[1].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.25, -0.25, 300, 1e-5])
@pytest.mark.parametrize("n", [1, 50])
def test_constants_come_back(method, value, n):
    weights = np.full((2, n), value, np.float32)
    codes, scales, zero_points = REGISTRY.find(method)(weights)
    # 1e-9 is part of ADMM's divisors
    np.testing.assert_allclose(_back(codes, scales, zero_points), weights, rtol=1e-2 if method == "admm" else 1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_weights_are_not_touched(rng, method):
    weights = rng.standard_normal((3, 9)).astype(np.float32)
    before = weights.copy()
    REGISTRY.find(method)(weights)
    np.testing.assert_array_equal(weights, before)
