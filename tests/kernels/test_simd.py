"""Intrinsics that no kernel tests by the way."""

import numpy as np
import pytest

from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import largest_f32, prefer_wide_vectors


@kernel
def _largest(address, count):
    return largest_f32(address, count)


@kernel
def _squares(x, out):
    prefer_wide_vectors()
    for i in range(x.size):
        out[i] = x[i] * x[i]


def _naive(x):
    largest = x[0]
    for value in x:
        largest = value if value > largest else largest
    return largest


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 31, 32, 33, 100])
def test_the_largest_is_that_of_a_loop(rng, count):
    x = rng.standard_normal(count).astype(np.float32)
    for at in range(count):
        moved = np.roll(x, at)
        assert _largest(moved.ctypes.data, count) == moved.max()
        moved[at] = np.nan
        np.testing.assert_equal(_largest(moved.ctypes.data, count), _naive(moved))


def test_wide_vectors_change_no_value(rng):
    x = rng.standard_normal(1003).astype(np.float32)
    out = np.empty_like(x)
    _squares(x, out)
    np.testing.assert_array_equal(out, x * x)
