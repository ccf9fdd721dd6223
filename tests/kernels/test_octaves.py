"""Histograms with bins of equal ratio: edges, twins, layouts; the errors that are read off them."""

import numpy as np
import pytest

from tnnquant.kernels.mse_range import histogram_errors, histogram_errors_naive
from tnnquant.kernels.octaves import OCTAVE_BINS, PER_OCTAVE, SMALLEST, octave_edges, octave_histogram_naive
from tnnquant.observers.octaves import Octaves, rounding_errors, scale_grid, second_moment


def _counts(x, slots):
    from tnnquant.kernels.program import run

    octaves = Octaves(slots)
    run(octaves.ops(x))
    return octaves.rows()


def _values(rng, shape=(2, 37, 11, 5)):
    x = (rng.standard_normal(shape) ** 5 * 1e3).astype(np.float32)
    x[0, :, 0, 0] = 0
    x[1, 3], x[1, 4], x[0, 5] = 1e-9, 1e9, SMALLEST
    return x


def test_edges_are_sixteenths_of_octaves():
    edges = octave_edges()
    assert edges.shape == (OCTAVE_BINS + 1,)
    assert edges[1] == SMALLEST
    np.testing.assert_allclose(edges[1 + PER_OCTAVE :] / edges[1:-PER_OCTAVE], 2)
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("slots", [1, 37])
@pytest.mark.parametrize("channels_last", [False, True])
def test_counts_are_those_of_the_twin(rng, slots, channels_last):
    x = _values(rng)
    want = np.zeros((37, OCTAVE_BINS), np.int64)
    octave_histogram_naive(x.reshape(2, 37, -1), want)
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(_counts(x, slots), want if slots > 1 else want.sum(axis=0, keepdims=True))


def test_bins_are_between_their_edges(rng):
    x = np.abs(_values(rng))
    places = np.searchsorted(octave_edges()[:-1], x, side="right") - 1
    np.testing.assert_array_equal(_counts(x, 1)[0], np.bincount(places.reshape(-1), minlength=OCTAVE_BINS))


def test_errors_are_those_of_the_twin(rng):
    counts = rng.integers(0, 9, (21, OCTAVE_BINS))
    counts[3] = 0
    rows = rng.integers(0, 5, (21, 3)).astype(np.int32)
    table = rng.random((5, OCTAVE_BINS))
    want = np.empty(rows.shape)
    histogram_errors_naive(counts, rows, table, want)
    np.testing.assert_allclose(histogram_errors(counts, rows, table), want, rtol=1e-12)


@pytest.mark.parametrize("levels", [127, 255])
def test_rounding_error_is_near_the_true_one(rng, levels):
    x = np.maximum(rng.standard_normal((1, 1, 300, 300)), 0).astype(np.float32)
    counts = _counts(x, 1)
    grid = scale_grid()
    for peak in (1.0, 2.5, 5.0):
        scale = grid[np.searchsorted(grid, peak / levels)]
        rounding, clipping = rounding_errors(counts, np.array([[scale]]), levels)
        codes = np.minimum(np.rint(x / scale), levels)
        true = np.square(x - codes * scale, dtype=np.float64).sum()
        assert rounding[0, 0] + clipping[0, 0] == pytest.approx(true, rel=0.05)
    assert second_moment(counts)[0] == pytest.approx(np.square(x, dtype=np.float64).sum(), rel=0.01)


@pytest.mark.parametrize("channels_last", [False, True])
def test_bins_that_are_left_out_are_counted_in_their_neighbours(rng, channels_last):
    from tnnquant.kernels.program import run

    x = _values(rng)
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    whole = _counts(x, 37)
    skipped, bins = 300, 200
    octaves = Octaves(37, skipped, bins)
    run(octaves.ops(x))
    rows = octaves.rows()
    np.testing.assert_array_equal(rows[:, 0], whole[:, 0])
    np.testing.assert_array_equal(rows[:, 1], whole[:, 1 : skipped + 2].sum(axis=1))
    np.testing.assert_array_equal(rows[:, 2:-1], whole[:, skipped + 2 : skipped + bins - 1])
    np.testing.assert_array_equal(rows[:, -1], whole[:, skipped + bins - 1 :].sum(axis=1))


def test_values_below_0_may_be_counted_as_0(rng):
    from tnnquant.kernels.program import run

    x = _values(rng)
    octaves = Octaves(37, only_positive=True)
    run(octaves.ops(x))
    np.testing.assert_array_equal(octaves.rows(), _counts(np.maximum(x, 0), 37))
