"""Sums of errors and counts of codes."""

import numpy as np
import pytest

from tnnquant.kernels.compare import ERROR_SUMS, count_codes, sum_errors


@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (5, 3), (33, 17)])
def test_sums_are_those_of_numpy_and_add_up(rng, shape):
    a, b = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    sums = np.zeros((ERROR_SUMS, shape[1]))
    for _ in range(2):
        sum_errors(a, b, sums)
    x, y = a.astype(np.float64), b.astype(np.float64)
    expected = [2 * (x * x).sum(0), 2 * (y * y).sum(0), 2 * (x * y).sum(0), 2 * ((x - y) ** 2).sum(0)]
    np.testing.assert_allclose(sums[:4], expected, rtol=1e-12)
    np.testing.assert_array_equal(sums[4], np.abs(x - y).max(0))


def test_counts(rng):
    codes = rng.integers(-128, 128, (50, 3)).astype(np.int8)
    codes[0] = -128, 0, 127
    counts = np.zeros((3, 256), np.int64)
    count_codes(codes, counts)
    expected = [np.bincount(codes[:, c].astype(int) + 128, minlength=256) for c in range(3)]
    np.testing.assert_array_equal(counts, expected)
