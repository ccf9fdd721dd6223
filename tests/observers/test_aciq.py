"""ACIQ by the steps of docs/tnn-format.md (7.6)."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tnnquant.observers import create_observer

DIMS = (2, 5, 12, 11)


def _samples(rng, count=4):
    return [(rng.laplace(size=DIMS) * rng.uniform(0.1, 9, (1, 5, 1, 1))).astype(np.float32) for _ in range(count)]


def _observe(method, slots, samples):
    observer = create_observer(method, slots)
    for x in samples:
        observer.update(x, 0)
    return observer.params()


def _gauss(peak, n):
    g = 0.5 * 0.35 * (1 + math.sqrt(math.pi * math.log(4)))
    deviation = float(np.float32(peak) * np.float32(2)) * g / math.sqrt(2 * math.log(n))
    return np.float32(float(np.float32(3.92403714)) * deviation) / np.float32(127)


def test_gauss_per_channel_and_per_tensor(rng):
    """n is the number of values of one item of the batch."""
    samples = _samples(rng)
    peaks = np.abs(samples).max(axis=(0, 1, 3, 4))
    scale, zero_point = _observe("aciq-gauss", 5, samples)
    np.testing.assert_allclose(scale, [_gauss(peak, 12 * 11) for peak in peaks], rtol=1.5e-7)
    assert not zero_point.any()
    scale, _ = _observe("aciq-gauss", 1, samples)
    np.testing.assert_allclose(scale, [_gauss(peaks.max(), 5 * 12 * 11)], rtol=1.5e-7)


def test_gauss_of_one_value_takes_the_peak():
    scale, _ = _observe("aciq-gauss", 2, [np.array([[3, -4]], np.float32)])
    np.testing.assert_array_equal(scale, np.array([3, 4], np.float32) / np.float32(127))


def test_gauss_takes_the_largest_sample_in_any_order(rng):
    large, small = rng.standard_normal((1, 2, 30)), rng.standard_normal((1, 2, 20))
    want = _observe("aciq-gauss", 2, [large, small])
    np.testing.assert_array_equal(_observe("aciq-gauss", 2, [small, large])[0], want[0])


@pytest.mark.parametrize("slots", [1, 5])
def test_laplace(rng, slots):
    samples = _samples(rng)
    axes = (0, 2, 3) if slots == 5 else None
    means = [np.atleast_1d(np.abs(x.astype(np.float64)).mean(axis=axes)).astype(np.float32) for x in samples]
    exact = [sum(Fraction(float(mean[slot])) for mean in means) for slot in range(slots)]
    mean = np.array([float(total) / len(samples) for total in exact]).astype(np.float32)
    want = np.float32(np.float32(9.89675982) * mean) / np.float32(127)
    scale, zero_point = _observe("aciq-laplace", slots, samples)
    np.testing.assert_allclose(scale, want, rtol=1.5e-7)
    assert not zero_point.any()
