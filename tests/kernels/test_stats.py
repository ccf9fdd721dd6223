"""Ranges and histograms of every memory form, against the naive twins."""

import numba
import numpy as np
import pytest

from tnnquant.kernels.stats import (
    BINS,
    histogram_flat,
    histogram_naive,
    histogram_planes,
    histogram_rows,
    range_flat,
    range_naive,
    range_planes,
    range_rows,
)

CHANNELS = (1, 15, 16, 17, 31, 32, 33)
BATCH_AND_AREA = ((1, 1), (1, 2), (1, 3), (2, 5), (1, 16), (3, 33), (1, 517), (2, 600))
SHAPES = [(n, c, i) for c in CHANNELS for n, i in BATCH_AND_AREA]
BROKEN = (np.nan, np.inf, -np.inf)


def _rows(planes):
    return np.ascontiguousarray(planes.transpose(0, 2, 1)).reshape(-1, planes.shape[1])


def _values(rng, shape):
    x = rng.standard_normal(shape).astype(np.float32) * 3
    x[rng.random(shape) < 0.2] = 0
    return x


def _start(slots):
    return np.full(slots, np.inf, np.float32), np.full(slots, -np.inf, np.float32)


def _range(kernel, array, slots):
    low, high = _start(slots)
    bad = kernel(array, low, high)
    return int(bad), low, high


def _histogram(kernel, array, interval, dtype=np.int64):
    counts = np.zeros((len(interval), BINS + 1), dtype)
    kernel(array, interval, counts)
    return counts[:, :BINS]


def _interval(planes):
    peak = np.abs(planes).max(axis=(0, 2))
    return np.where(peak > 1e-5, np.float32(BINS) / np.maximum(peak, np.float32(1e-5)), 0).astype(np.float32)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = numba.get_num_threads()
    if request.param > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("Numba was started with fewer threads")
    numba.set_num_threads(request.param)
    yield request.param
    numba.set_num_threads(before)


# --- ranges ---


def test_naive_range_is_that_of_numpy(rng):
    x = _values(rng, (2, 5, 7))
    bad, low, high = _range(range_naive, x, 5)
    assert bad == 0
    np.testing.assert_array_equal(low, x.min(axis=(0, 2)))
    np.testing.assert_array_equal(high, x.max(axis=(0, 2)))


def test_ranges_equal_the_naive_loops(rng, threads):
    for shape in SHAPES:
        x = _values(rng, shape)
        want = _range(range_naive, x, shape[1])
        flat = _range(range_naive, x.reshape(1, 1, -1), 1)
        for got, expected in (
            (_range(range_planes, x, shape[1]), want),
            (_range(range_rows, _rows(x), shape[1]), want),
            (_range(range_flat, x.reshape(-1), 1), flat),
        ):
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=str(shape))


def test_a_range_goes_on_from_what_it_was(rng):
    x = _values(rng, (1, 3, 40))
    for kernel, array, slots in ((range_planes, x, 3), (range_rows, _rows(x), 3), (range_flat, x.reshape(-1), 1)):
        low, high = np.full(slots, -50, np.float32), np.full(slots, 60, np.float32)
        kernel(array, low, high)
        assert (low == -50).all()
        assert (high == 60).all()


@pytest.mark.parametrize("value", BROKEN)
def test_what_is_not_finite_is_counted_wherever_it_is(rng, value):
    clean = _values(rng, (1, 3, 37))
    for position in range(clean.size):
        x = clean.copy()
        x.reshape(-1)[position] = value
        assert range_naive(x, *_start(3)) == 1
        assert range_planes(x, *_start(3)) == 1, position
        assert range_rows(_rows(x), *_start(3)) == 1, position
        assert range_flat(x.reshape(-1), *_start(1)) == 1, position


@pytest.mark.parametrize("channels", [1, 16, 17])
def test_what_is_not_finite_is_counted_beside_a_number(channels):
    for pair in ((np.nan, 1), (1, np.nan), (np.nan, np.inf), (np.inf, np.nan), (np.nan, np.nan), (-np.inf, 3)):
        rows = np.ones((34, channels), np.float32)
        rows[16:18, channels - 1] = pair
        expected = int((~np.isfinite(rows)).sum())
        assert range_rows(rows, *_start(channels)) == expected
        planes = np.ascontiguousarray(rows.T)[None]
        assert range_planes(planes, *_start(channels)) == expected
        assert range_flat(rows.reshape(-1), *_start(1)) == expected


def test_all_nan_leaves_the_range_alone():
    x = np.full((1, 17, 40), np.nan, np.float32)
    for kernel, array, slots in ((range_planes, x, 17), (range_rows, _rows(x), 17), (range_flat, x.reshape(-1), 1)):
        bad, low, high = _range(kernel, array, slots)
        assert bad == x.size
        assert np.isposinf(low).all()
        assert np.isneginf(high).all()


# --- histograms ---


def test_naive_histogram_is_that_of_numpy(rng):
    x = _values(rng, (2, 3, 50))
    interval = _interval(x)
    counts = _histogram(histogram_naive, x, interval)
    for c in range(3):
        values = x[:, c].reshape(-1)
        values = values[values != 0]
        bins = np.minimum((np.abs(values) * interval[c]).astype(np.float32).astype(np.int64), BINS - 1)
        np.testing.assert_array_equal(counts[c], np.bincount(bins, minlength=BINS))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_histograms_equal_the_naive_loops(rng, threads, dtype):
    for shape in SHAPES:
        x = _values(rng, shape)
        interval = _interval(x)
        want = _histogram(histogram_naive, x, interval, dtype)
        planes = _histogram(histogram_planes, x, interval, dtype)
        rows = _histogram(histogram_rows, _rows(x), interval, dtype)
        assert planes.dtype == rows.dtype == dtype
        np.testing.assert_array_equal(planes, want, err_msg=str(shape))
        np.testing.assert_array_equal(rows, want, err_msg=str(shape))


def test_flat_histograms_equal_the_naive_loops(rng, threads):
    for n in (1, 2, 3, 4, 5, 127, 8191, 8192, 8193, 8192 * 15, 8192 * 17 + 3):
        x = _values(rng, (1, 1, n))
        interval = _interval(x)
        want = _histogram(histogram_naive, x, interval)
        np.testing.assert_array_equal(_histogram(histogram_flat, x.reshape(-1), interval), want, err_msg=str(n))


def test_zeros_of_both_signs_are_not_counted():
    x = np.zeros((1, 17, 30), np.float32)
    x[:, :, ::2] = -0.0
    x[:, 3, 5] = 1
    interval = np.full(17, 2048, np.float32)
    for kernel, array, scale in (
        (histogram_planes, x, interval),
        (histogram_rows, _rows(x), interval),
        (histogram_flat, x.reshape(-1), interval[:1]),
    ):
        counts = _histogram(kernel, array, scale)
        assert counts.sum() == 1
        assert counts[:, BINS - 1].sum() == 1


def test_signs_fall_together_and_the_peak_into_the_last_bin():
    x = np.array([[[0.5, -0.5, 1, -1, 1e-30]]], np.float32)
    interval = np.array([2048], np.float32)
    planes = (histogram_naive, x), (histogram_planes, x)
    for kernel, array in (*planes, (histogram_rows, _rows(x)), (histogram_flat, x[0, 0])):
        counts = _histogram(kernel, array, interval)[0]
        assert (counts[0], counts[1024], counts[BINS - 1]) == (1, 2, 2)


def test_counts_are_added_to_what_was_there(rng):
    x = _values(rng, (1, 17, 60))
    interval = _interval(x)
    for kernel, array, scale in (
        (histogram_planes, x, interval),
        (histogram_rows, _rows(x), interval),
        (histogram_flat, x.reshape(-1), interval[:1]),
    ):
        once = _histogram(kernel, array, scale)
        counts = np.zeros((len(scale), BINS + 1), np.int64)
        kernel(array, scale, counts)
        kernel(array, scale, counts)
        np.testing.assert_array_equal(counts[:, :BINS], 2 * once)


def test_values_beyond_the_range_stay_inside_the_histogram():
    """A sample that changed between the passes must not write elsewhere."""
    x = np.array([np.nan, np.inf, -np.inf, 1e38], np.float32).reshape(1, 1, 4)
    for interval in (np.array([0], np.float32), np.array([2048], np.float32)):
        for kernel, array in ((histogram_planes, x), (histogram_rows, _rows(x)), (histogram_flat, x[0, 0])):
            assert _histogram(kernel, array, interval).sum() == 4
