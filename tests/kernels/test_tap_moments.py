"""Second moments of depthwise windows."""

import numpy as np
import pytest

from tnnquant.kernels.tap_moments import tap_moments, tap_moments_naive


@pytest.mark.parametrize(("windows", "taps", "channels"), [(1, 1, 1), (70, 9, 16), (33, 25, 37), (300, 9, 3)])
def test_moments_are_those_of_the_twin(rng, windows, taps, channels):
    codes = rng.integers(-128, 128, (windows, taps, channels)).astype(np.int8)
    wanted = np.empty((channels, taps, taps), np.int32)
    tap_moments_naive(codes, wanted)
    np.testing.assert_array_equal(tap_moments(codes), wanted)
    np.testing.assert_array_equal(wanted, np.einsum("wtc,wsc->cts", *2 * [codes.astype(np.int64)]))
