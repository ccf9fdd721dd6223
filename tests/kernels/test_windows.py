"""Windows side by side, and their sums: twins, padding, several samples, any number of threads."""

import numpy as np
import pytest

from tnnquant.kernels.program import one_thread
from tnnquant.kernels.windows import gathered_windows, gathered_windows_naive, window_sums, window_sums_naive


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 70])
def test_windows_are_those_of_the_twin(rng, dtype, channels):
    pixels = (rng.standard_normal((3, 20, channels)) * 50).astype(dtype)
    rows = rng.integers(-1, 20, (45, 9))
    want = np.ones((3, 45, 9, channels), dtype)
    gathered_windows_naive(pixels, rows, want)
    np.testing.assert_array_equal(gathered_windows(pixels, rows), want)
    with one_thread():
        np.testing.assert_array_equal(gathered_windows(pixels, rows), want)
    assert (want[0][rows < 0] == 0).all()


@pytest.mark.parametrize("channels", [1, 64, 130])
def test_sums_are_those_of_the_twin_bit_for_bit(rng, channels):
    pixels = rng.standard_normal((20, channels)).astype(np.float32)
    rows = rng.integers(-1, 20, (45, 9))
    want = np.zeros((9, channels))
    window_sums_naive(pixels, rows, want)
    np.testing.assert_array_equal(window_sums(pixels, rows), want)


def test_no_windows_are_no_error():
    rows = np.empty((0, 4), np.int64)
    assert gathered_windows(np.zeros((2, 5, 3), np.int8), rows).shape == (2, 0, 4, 3)
    assert (window_sums(np.zeros((5, 3), np.float32), rows) == 0).all()
