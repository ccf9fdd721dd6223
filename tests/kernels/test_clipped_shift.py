"""Constants for clipped sums."""

import numpy as np
import pytest

from tnnquant.kernels.clipped_shift import clipped_shift, clipped_shift_naive


@pytest.mark.parametrize(("rows", "places", "rounds"), [(1, 1, 1), (7, 40, 3), (5, 33, 4)])
def test_shifts_are_those_of_the_twin(rng, rows, places, rounds):
    sums = rng.normal(size=(rows, places))
    wanted = rng.normal(size=(rows, places)).astype(np.float32)
    low, high = np.full(rows, -0.5), np.full(rows, np.inf)
    twin = np.empty(rows)
    clipped_shift_naive(sums, wanted, low, high, rounds, twin)
    np.testing.assert_array_equal(clipped_shift(sums, wanted, low, high, rounds), twin)


def test_without_clipping_the_mean_is_approached_by_halves():
    sums, wanted = np.zeros((1, 8)), np.ones((1, 8), np.float32)
    limits = np.array([-np.inf]), np.array([np.inf])
    assert [clipped_shift(sums, wanted, *limits, rounds)[0] for rounds in (1, 2, 3)] == [0.5, 0.75, 0.875]


def test_what_is_clipped_does_not_count():
    sums = np.array([[-5.0, 1.0]])
    wanted = np.array([[9.0, 2.0]], np.float32)
    shift = clipped_shift(sums, wanted, np.zeros(1), np.full(1, 100.0), 1)
    assert shift[0] == pytest.approx(1 / 3)


def test_nothing_to_shift():
    assert not clipped_shift(np.zeros((0, 3)), np.zeros((0, 3), np.float32), np.zeros(0), np.zeros(0), 2).size
