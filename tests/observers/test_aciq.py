"""ACIQ by the steps of the reference (7.6), and sums without rounding."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tnnquant.observers import create_observer
from tnnquant.observers.aciq import ExactSum

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


# --- exact sums ---


def _values(rng, count):
    """Non-negative float32 of all magnitudes, subnormal ones and the largest included."""
    bits = rng.integers(0, 0x7F800000, count, dtype=np.uint32)
    values = bits.view(np.float32)
    values[:6] = [0, 1e-45, 1.1754942e-38, 1.1754944e-38, np.finfo(np.float32).max, 1]
    return values


def test_exact_sum_is_that_of_fractions(rng):
    values = rng.permutation(_values(rng, 600)).reshape(200, 3)
    total = ExactSum(3)
    for row in values:
        total.add(row)
    for slot in range(3):
        exact = sum(Fraction(float(v)) for v in values[:, slot])
        limbs = sum(int(part) << (32 * k) for k, part in enumerate(total.limbs[slot]))
        assert Fraction(limbs, 2**149) == exact
        assert total.value()[slot] == float(exact)


def test_single_values_come_back(rng):
    values = _values(rng, 3000)
    total = ExactSum(len(values))
    total.add(values)
    np.testing.assert_array_equal(total.value(), values.astype(np.float64))


def test_small_values_are_not_lost_beside_large_ones():
    total = ExactSum(1)
    for value in (2.0**100, 1e-45, 1.5, 2.0**100):
        total.add(np.array([value], np.float32))
    limbs = sum(int(part) << (32 * k) for k, part in enumerate(total.limbs[0]))
    assert Fraction(limbs, 2**149) == 2 * Fraction(2) ** 100 + Fraction(float(np.float32(1e-45))) + Fraction(3, 2)


def test_a_tie_is_broken_by_what_lies_far_below():
    """2**60 + 2**7 lies half way between two doubles; the smallest float32 on top decides."""
    total = ExactSum(1)
    for value in (2.0**60, 2.0**7):
        total.add(np.array([value], np.float32))
    assert total.value()[0] == 2.0**60
    total.add(np.array([1e-45], np.float32))
    assert total.value()[0] == 2.0**60 + 2.0**8


def test_order_of_exact_sums(rng):
    values = _values(rng, 300)
    sums = []
    for _ in range(3):
        total = ExactSum(1)
        for value in rng.permutation(values):
            total.add(value.reshape(1))
        sums.append(total.limbs.tobytes())
    assert len(set(sums)) == 1


def test_no_values():
    assert ExactSum(2).value().tolist() == [0, 0]
