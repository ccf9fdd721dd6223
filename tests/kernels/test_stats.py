"""Ranges, histograms and sums of every memory layout, against the naive twins and NumPy."""

import numba
import numpy as np
import pytest

from tnnquant.kernels.program import data_address, run
from tnnquant.kernels.stats import abs_sum_naive, abs_sum_op, histogram_naive, histogram_op, range_naive, range_op
from tnnquant.kernels.walk import BIN_STRIDE, BINS, histogram_walk, range_walk, walkable

CHANNELS = (1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 65)
SHAPES = [(n, c, h, w) for c in CHANNELS for n, h, w in ((1, 1, 1), (2, 3, 5), (1, 9, 31))]
SHAPES += [(4, 7), (3, 1000), (1, 1), (2, 20, 300), (1, 40, 1), (1, 4, 8, 9, 10), (1, 64, 57, 56), (2, 3, 120, 130)]
BROKEN = (np.nan, np.inf, -np.inf)


def _values(rng, shape):
    x = rng.standard_normal(shape).astype(np.float32) * 3
    x[rng.random(shape) < 0.2] = 0
    return x


def _layouts(x):
    """The same values as plain, channels-last, and slice of channels-last memory."""
    yield x
    if x.ndim > 2:
        last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        yield np.moveaxis(last, -1, 1)
    wide = np.full((*x.shape[:1], *x.shape[2:], x.shape[1] + 9), np.nan, np.float32)
    wide[..., 4 : 4 + x.shape[1]] = np.moveaxis(x, 1, -1)
    yield np.moveaxis(wide[..., 4 : 4 + x.shape[1]], -1, 1)


def _as_planes(x, slots):
    return np.ascontiguousarray(x).reshape((1, 1, -1) if slots == 1 else (*x.shape[:2], -1))


class _Range:
    """Accumulators of one layout."""

    def __init__(self, x, slots):
        self.walk, slot = range_walk(x, slots)
        self.slot, self.slots = np.repeat(slot, self.walk.chunks, 0), slots
        self.low = np.full((self.walk.tasks, self.walk.columns), np.inf, np.float32)
        self.high = -self.low
        self.flags = np.zeros(self.walk.tasks, np.int64)

    def take(self, x):
        run(range_op(self.walk, data_address(x), self.low, self.high, self.flags))
        low, high = np.full(self.slots, np.inf, np.float32), np.full(self.slots, -np.inf, np.float32)
        np.minimum.at(low, self.slot, self.low)
        np.maximum.at(high, self.slot, self.high)
        return low, high


def _naive_range(x, slots):
    low, high = np.full(slots, np.inf, np.float32), np.full(slots, -np.inf, np.float32)
    bad = range_naive(_as_planes(x, slots), low, high)
    return bad, low, high


def _interval(x, slots):
    peak = np.abs(_as_planes(x, slots)).max(axis=(0, 2))
    return np.where(peak > 1e-5, np.float32(BINS) / np.maximum(peak, np.float32(1e-5)), 0).astype(np.float32)


def _counts(x, interval, times=1):
    walk, histogram, copies = histogram_walk(x, len(interval))
    counts = np.zeros((walk.chunks, len(interval) * copies, BIN_STRIDE), np.int32)
    factor = np.ascontiguousarray(interval[histogram // copies])
    floor = np.where(factor > 0, 0, np.inf).astype(np.float32)
    base = (histogram * BIN_STRIDE).astype(np.int32)
    op = histogram_op(walk, data_address(x), factor, floor, base, counts)
    for _ in range(times):
        run(op)
    assert not counts[..., BINS + 1 :].any()
    return counts.reshape(walk.chunks, len(interval), copies, -1).sum(axis=(0, 2))[:, :BINS]


def _naive_counts(x, interval):
    counts = np.zeros((len(interval), BINS), np.int64)
    histogram_naive(_as_planes(x, len(interval)), interval, counts)
    return counts


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
    bad, low, high = _naive_range(x, 5)
    assert not bad
    np.testing.assert_array_equal(low, x.min(axis=(0, 2)))
    np.testing.assert_array_equal(high, x.max(axis=(0, 2)))


def test_ranges_equal_the_naive_loops(rng, threads):
    for shape in SHAPES:
        x = _values(rng, shape)
        for slots in {1, shape[1]}:
            _, low, high = _naive_range(x, slots)
            for blob in _layouts(x):
                assert walkable(blob, slots)
                found = _Range(blob, slots)
                got = found.take(blob)
                np.testing.assert_array_equal(got[0], low, err_msg=str((shape, blob.strides, slots)))
                np.testing.assert_array_equal(got[1], high, err_msg=str((shape, blob.strides, slots)))
                assert not found.flags.any()


def test_a_range_goes_on_from_what_it_was(rng):
    samples = [_values(rng, (1, 17, 9, 8)) for _ in range(3)]
    found = _Range(samples[0], 17)
    for x in samples:
        low, high = found.take(x)
    np.testing.assert_array_equal(low, np.min(samples, axis=(0, 1, 3, 4)))
    np.testing.assert_array_equal(high, np.max(samples, axis=(0, 1, 3, 4)))


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("shape", [(1, 3, 37), (1, 19, 5, 4), (2, 40)])
def test_what_is_not_finite_is_met_wherever_it_is(rng, value, shape):
    clean = _values(rng, shape)
    for position in range(clean.size):
        x = clean.copy()
        x.reshape(-1)[position] = value
        assert _naive_range(x, shape[1])[0]
        for slots in (1, shape[1]):
            for blob in _layouts(x):
                found = _Range(blob, slots)
                found.take(blob)
                assert found.flags.any(), (position, blob.strides, slots)


def test_nan_leaves_the_range_alone():
    x = np.full((1, 17, 4, 10), np.nan, np.float32)
    x[0, 3, 2, 5] = 7
    for blob in _layouts(x):
        low, high = _Range(blob, 17).take(blob)
        assert (low[3], high[3]) == (7, 7)
        assert np.isposinf(np.delete(low, 3)).all()
        assert np.isneginf(np.delete(high, 3)).all()


# --- histograms ---


def test_naive_histogram_is_that_of_numpy(rng):
    x = _values(rng, (2, 3, 50))
    interval = _interval(x, 3)
    counts = _naive_counts(x, interval)
    for c in range(3):
        values = x[:, c].reshape(-1)
        values = values[values != 0]
        bins = np.minimum((np.abs(values) * interval[c]).astype(np.float32).astype(np.int64), BINS - 1)
        np.testing.assert_array_equal(counts[c], np.bincount(bins, minlength=BINS))


def test_histograms_equal_the_naive_loops(rng, threads):
    for shape in SHAPES:
        x = _values(rng, shape)
        for slots in {1, shape[1]}:
            interval = _interval(x, slots)
            want = _naive_counts(x, interval)
            for blob in _layouts(x):
                np.testing.assert_array_equal(_counts(blob, interval), want, err_msg=str((shape, blob.strides, slots)))


def test_a_slot_without_interval_counts_nothing(rng):
    x = _values(rng, (1, 33, 6, 6))
    interval = _interval(x, 33)
    interval[[0, 16, 32]] = 0
    for blob in _layouts(x):
        counts = _counts(blob, interval)
        np.testing.assert_array_equal(counts, _naive_counts(x, interval))
        assert not counts[[0, 16, 32]].any()


def test_zeros_of_both_signs_are_not_counted():
    x = np.zeros((1, 17, 5, 6), np.float32)
    x[..., ::2] = -0.0
    x[0, 3, 2, 5] = 1
    for slots in (1, 17):
        for blob in _layouts(x):
            counts = _counts(blob, np.full(slots, BINS, np.float32))
            assert counts.sum() == 1
            assert counts[:, BINS - 1].sum() == 1


def test_signs_fall_together_and_the_peak_into_the_last_bin():
    x = np.array([[[0.5, -0.5, 1, -1, 1e-30]]], np.float32)
    counts = _counts(x, np.array([BINS], np.float32))[0]
    assert (counts[0], counts[1024], counts[BINS - 1]) == (1, 2, 2)


def test_counts_are_added_to_what_was_there(rng):
    x = _values(rng, (1, 17, 6, 10))
    interval = _interval(x, 17)
    for blob in _layouts(x):
        np.testing.assert_array_equal(_counts(blob, interval, times=3), 3 * _naive_counts(x, interval))


def test_values_beyond_the_range_stay_inside_the_histogram():
    """A sample that changed between the passes must not write elsewhere."""
    values = np.array([np.inf, -np.inf, 1e38, np.nan], np.float32)
    x = np.broadcast_to(values.reshape(1, 1, 2, 2), (1, 17, 2, 2)).copy()
    for blob in _layouts(x):
        counts = _counts(blob, np.full(17, BINS, np.float32))
        assert (counts[:, BINS - 1] == 3).all()
        assert counts.sum() == 3 * 17


# --- sums ---


def test_sums_of_magnitudes(rng, threads):
    for shape in SHAPES:
        x = _values(rng, shape)
        for slots in {1, shape[1]}:
            want = np.zeros(slots)
            abs_sum_naive(_as_planes(x, slots), want)
            exact = np.abs(_as_planes(x, slots).astype(np.float64)).sum(axis=(0, 2))
            np.testing.assert_allclose(want, exact, rtol=1e-12)
            for blob in _layouts(x):
                walk, slot = range_walk(blob, slots)
                sums = np.full((walk.tasks, walk.columns), np.nan)
                run(abs_sum_op(walk, data_address(blob), sums))
                got = np.bincount(np.repeat(slot, walk.chunks, 0).reshape(-1), sums.reshape(-1), slots)
                np.testing.assert_allclose(got, want, rtol=1e-12, err_msg=str((shape, blob.strides, slots)))


# --- walks ---


def test_what_cannot_be_walked():
    x = np.zeros((2, 5, 6, 7), np.float32)
    assert walkable(x, 5)
    for other in (x[:, :, ::2], x[:, ::2], x.transpose(0, 2, 1, 3), x[..., ::-1], np.broadcast_to(x[:1], (2, 5, 6, 7))):
        assert not walkable(other, other.shape[1]), other.strides
    # Rows of a part of the image only do not lie at equal distances.
    assert not walkable(np.moveaxis(np.zeros((2, 6, 7, 5), np.float32)[:, :, :3], -1, 1), 5)


def test_a_walk_meets_every_value_once(rng):
    """Every value, and no other, is counted in its slot: by a histogram of distinct values."""
    for channels in (1, 2, 5, 16, 24, 50):
        x = np.arange(1, 1 + 40 * channels, dtype=np.float32).reshape(1, channels, 5, 8)
        interval = np.full(channels, np.float32(BINS / 2**11), np.float32)
        for blob in _layouts(x):
            counts = _counts(blob, interval)
            for c in range(channels):
                np.testing.assert_array_equal(np.flatnonzero(counts[c]), x[0, c].reshape(-1).astype(int))


def test_memory_of_histograms_is_that_of_the_slots():
    """SqueezeNet has 7000 slots: more than one histogram a slot is for blobs of few channels only."""
    for channels, side in ((64, 113), (128, 56), (256, 28), (1000, 14)):
        x = np.moveaxis(np.zeros((1, side, side, channels), np.float32), -1, 1)
        walk, _, copies = histogram_walk(x, channels)
        assert walk.chunks * copies == 1
        assert walk.tasks >= 4
