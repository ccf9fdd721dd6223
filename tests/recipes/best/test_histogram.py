"""Histograms of folds: what is kept of them, and how they are joined."""

import numpy as np
import pytest

from tnnquant.kernels.octaves import OCTAVE_BINS, octave_edges
from tnnquant.recipes.best.histogram import Histogram


def _rows(rng, scale):
    edges = octave_edges()
    return [
        np.stack([np.histogram(np.abs(scale * rng.standard_normal(500)), edges)[0] for _ in range(3)]).astype(np.int32)
        for _ in range(4)
    ]


def test_nothing_is_lost(rng):
    rows = _rows(rng, 3.0)
    histogram = Histogram.of(0, rows)
    assert histogram.counts.shape[2] < OCTAVE_BINS / 2
    np.testing.assert_array_equal(histogram.totals, np.full((4, 3), 500))
    top = histogram.first + histogram.counts.shape[2]
    upper = slice(top - 100, top)
    np.testing.assert_allclose(histogram.whole()[:, upper], sum(rows)[:, upper], atol=4, rtol=1 / 16)
    np.testing.assert_allclose(histogram.whole(2).sum(axis=1), 500, rtol=1 / 16)
    assert histogram.squares == pytest.approx(4 * 500 * 9.0, rel=0.15)


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 100, 70000, 2**31 - 1])
def test_counts_keep_four_bits(count):
    rows = np.zeros((2, 3), np.int32)
    rows[0, 1] = count
    rows[:, 2] = 1
    kept = Histogram.of(5, [rows] * 2).whole(1)[:, 5:8]
    assert kept[0, 1] == (count if count <= 16 else pytest.approx(count, rel=1 / 16))
    np.testing.assert_array_equal(kept[1], [0, 0, 1])


def test_joined_they_are_those_of_all(rng):
    one, other = _rows(rng, 0.01), _rows(rng, 5.0)
    joined = Histogram.of(0, one).merged(Histogram.of(0, other))
    whole = Histogram.of(0, [a + b for a, b in zip(one, other, strict=True)])
    np.testing.assert_array_equal(joined.totals, whole.totals)
    shared = max(joined.first, whole.first) + 1
    np.testing.assert_allclose(joined.whole()[:, shared:], whole.whole()[:, shared:], atol=4, rtol=1 / 8)


def test_of_values_that_all_are_zero():
    empty = np.zeros((2, OCTAVE_BINS), np.int32)
    empty[:, 0] = 7
    histogram = Histogram.of(0, [empty] * 4)
    assert histogram.counts.shape == (4, 2, 1)
    np.testing.assert_array_equal(histogram.totals, 7)
