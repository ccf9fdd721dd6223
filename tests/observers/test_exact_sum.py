"""Sums of float32 values without rounding, against fractions."""

from fractions import Fraction

import numpy as np

from tnnquant.observers.exact_sum import ExactSum


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
