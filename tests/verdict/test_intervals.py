"""Intervals against values worked out elsewhere."""

import numpy as np
import pytest

from tnnquant.verdict.intervals import bootstrap, mcnemar, wilson


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # Of the published examples of Wilson's interval (Newcombe 1998, table I, method 3).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(hits, count, low, high):
    assert wilson(hits, count) == pytest.approx((low, high), abs=5e-5)


def test_wilson_of_nothing_and_of_all():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(20, 20)[1] == 1.0


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (5, 5, 1.0), (1, 9, 22 / 1024), (10, 0, 2 / 1024), (0, 2000, 0.0)]
)
def test_mcnemar(gained, lost, p):
    assert mcnemar(gained, lost) == pytest.approx(p)


def test_bootstrap_covers_the_mean_and_is_the_same_every_time():
    values = np.random.default_rng(0).standard_normal(400)
    low, high = bootstrap(values)
    assert low < values.mean() < high
    # About 1.96 standard errors to each side.
    assert high - low == pytest.approx(2 * 1.96 / 20 * values.std(), rel=0.1)
    assert bootstrap(values) == (low, high)
    assert bootstrap(np.full(9, 0.5)) == (0.5, 0.5)
    assert all(np.isnan(bootstrap(np.empty(0))))
