"""Second-order rounding: factors, twins, and what it gains over rounding to the nearest."""

import numpy as np
import pytest

from tnnquant.kernels.nearest_plane import cholesky, cholesky_naive, nearest_plane, nearest_plane_naive


def _moments(rng, groups, n):
    x = rng.standard_normal((groups, 3 * n + 5, n)) @ rng.standard_normal((groups, n, n))
    return (np.einsum("gpk,gpl->gkl", x, x) + np.eye(n)).astype(np.float32)


def _solve(kernel, weights, factor, steps):
    codes = np.full(weights.shape, 99, np.int8)
    chosen, error = np.zeros((2, *weights.shape[:2]), np.float32)
    kernel(weights, factor, steps, codes, chosen, error)
    return codes, chosen, error


@pytest.mark.parametrize(("groups", "n"), [(1, 1), (1, 17), (5, 9), (3, 32), (1, 83), (2, 275), (1, 515)])
def test_cholesky_is_its_twin_and_a_factor(rng, groups, n):
    h = _moments(rng, groups, n)
    fast, naive = h.copy(), h.copy()
    cholesky(fast)
    cholesky_naive(naive)
    np.testing.assert_array_equal(fast, naive)
    np.testing.assert_allclose(np.einsum("gki,gkj->gij", fast, fast), h, rtol=1e-5, atol=1e-5 * h.max())


@pytest.mark.parametrize(
    ("groups", "rows", "n"), [(1, 1, 1), (1, 20, 17), (5, 1, 9), (2, 33, 8), (1, 16, 31), (1, 40, 70)]
)
def test_codes_are_those_of_the_twin(rng, groups, rows, n):
    factor = _moments(rng, groups, n)
    cholesky(factor)
    weights = rng.standard_normal((groups, rows, n)).astype(np.float32)
    weights[0, 0] = 0
    steps = np.abs(weights).max(axis=2, keepdims=True) / 127 * np.float32([1, 0.9, 0.7])
    for fast, naive in zip(
        _solve(nearest_plane, weights, factor, steps), _solve(nearest_plane_naive, weights, factor, steps), strict=True
    ):
        np.testing.assert_array_equal(fast, naive)


def test_error_is_the_quadratic_form_and_less_than_that_of_plain_rounding(rng):
    h = _moments(rng, 1, 24)
    factor = h.copy()
    cholesky(factor)
    weights = rng.standard_normal((1, 40, 24)).astype(np.float32)
    steps = np.ascontiguousarray(np.abs(weights).max(axis=2, keepdims=True) / np.float32(127))
    codes, chosen, error = _solve(nearest_plane, weights, factor, steps)
    np.testing.assert_array_equal(chosen, steps[..., 0])
    left = weights.astype(np.float64) - codes * chosen[..., None].astype(np.float64)
    np.testing.assert_allclose(np.einsum("gok,gkl,gol->go", left, h, left), error, rtol=1e-4)
    plain = weights - np.rint(weights / steps).astype(np.float64) * steps
    assert error.sum() < 0.7 * np.einsum("gok,gkl,gol->go", plain, h, plain).sum()


def test_uncorrelated_inputs_give_plain_rounding(rng):
    factor = np.eye(6, dtype=np.float32)[None] * 2
    weights = rng.standard_normal((1, 3, 6)).astype(np.float32)
    steps = np.full((1, 3, 1), 0.03, np.float32)
    codes, _, _ = _solve(nearest_plane, weights, factor, steps)
    np.testing.assert_array_equal(codes, np.clip(np.rint(weights / np.float32(0.03)), -127, 127))


def test_a_pivot_lost_to_rounding_is_raised():
    h = np.ones((1, 3, 3), np.float32)
    h[0, 2, 2] = 4
    cholesky(h)
    assert h[0, 1, 1] == np.sqrt(np.float32(1e-6))
    assert np.isfinite(h).all()
