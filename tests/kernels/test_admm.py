"""ADMM: stopping at a fixed point or in a cycle gives the result of all rounds."""

import numba
import numpy as np
import pytest

from tnnquant.kernels.admm import ROUNDS, admm, admm_naive


def _solve(kernel, weights):
    weights = np.ascontiguousarray(weights, np.float32)
    codes, scales = np.full(weights.shape, 99, np.int8), np.full(len(weights), 9, np.float32)
    kernel(weights, codes, scales)
    return codes, scales


def _assert_equal(weights):
    codes, scales = _solve(admm, weights)
    want_codes, want_scales = _solve(admm_naive, weights)
    np.testing.assert_array_equal(codes, want_codes)
    assert scales.tobytes() == want_scales.tobytes()
    return codes, scales


def _round(weights, scale):
    """One round of the reference in NumPy's float32 for one group: codes of a scale, and the scale after it."""
    f = np.float32
    x = weights / (scale + f(1e-9))
    codes = np.clip(np.copysign(np.floor(np.abs(x).astype(np.float64) + 0.5), x), -127, 127).astype(f)
    cross, square = f(0), f(0)
    for w, q in zip(weights, codes, strict=True):
        cross, square = cross + w * q, square + q * q
    return codes.astype(np.int8), cross / (square + f(1e-9))


def test_naive_follows_the_reference(rng):
    weights = rng.standard_normal((1, 30)).astype(np.float32)
    scale = np.float32(float(np.abs(weights).max()) / (127 * 1.25))
    for _ in range(ROUNDS):
        codes, scale = _round(weights[0], scale)
    got_codes, got_scales = _solve(admm_naive, weights)
    np.testing.assert_array_equal(got_codes[0], codes)
    assert got_scales[0] == scale


@pytest.mark.parametrize("n", [1, 2, 3, 9, 15, 16, 17, 27, 100, 255, 256, 600])
def test_equal_to_all_rounds(rng, n):
    _assert_equal(rng.standard_normal((5, n)) * np.array([[1], [1e-3], [30], [1e-6], [1e-9]]))
    _assert_equal(rng.laplace(size=(3, n)) * 0.02)


def test_equal_to_all_rounds_where_no_scale_is_stable(rng):
    """Groups of thousands of weights are the ones that take hundreds of rounds, or never settle."""
    _assert_equal(rng.standard_normal((6, 3000)))


@pytest.mark.parametrize("weight", [2.9e36, 3e38])
def test_cycles(weight):
    """A sum that overflows makes the scale alternate between infinity and 0."""
    weights = np.array([[weight, -weight, weight / 3], [1, 2, 3]], np.float32)
    states, scale = [], np.float32(float(weights.max()) / (127 * 1.25))
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(6):
            states.append(scale)
            scale = _round(weights[0], scale)[1]
    assert states[-1] == states[-3] != states[-2]
    _assert_equal(weights)


def test_zeros_give_codes_and_scale_zero():
    codes, scales = _assert_equal(np.zeros((3, 20)))
    assert not codes.any()
    assert not scales.any()


def test_one_weight_and_constants_are_kept():
    for weights in (np.full((1, 1), 0.7), np.full((2, 40), -3.0)):
        codes, scales = _assert_equal(weights)
        np.testing.assert_array_equal(np.abs(codes), 127)
        np.testing.assert_allclose(codes * scales[:, None], weights, rtol=1e-6)


def test_a_group_among_others_is_a_group_alone(rng):
    weights = rng.standard_normal((9, 50)).astype(np.float32)
    weights[4] = 0
    codes, scales = _solve(admm, weights)
    for g in range(9):
        alone_codes, alone_scales = _solve(admm, weights[g : g + 1])
        np.testing.assert_array_equal(alone_codes[0], codes[g])
        assert alone_scales[0] == scales[g]


def test_the_number_of_threads_does_not_matter(rng):
    weights = rng.standard_normal((33, 64))
    codes, scales = _solve(admm, weights)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        again, scales_again = _solve(admm, weights)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(again, codes)
    assert scales_again.tobytes() == scales.tobytes()


def test_less_error_than_from_the_clipped_range_it_starts_with(rng):
    weights = rng.standard_normal((4, 400)).astype(np.float32)
    codes, scales = _solve(admm, weights)
    start = np.abs(weights).max(axis=1, keepdims=True) / (127 * 1.25)
    first = np.clip(np.rint(weights / start), -127, 127) * start
    assert ((codes * scales[:, None] - weights) ** 2).sum() < ((first - weights) ** 2).sum()
