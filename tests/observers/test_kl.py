"""KL: histograms over the final range, thresholds, wide counts, and merging in two phases."""

import numpy as np
import pytest

from tnnquant.errors import CalibrationError
from tnnquant.observers import create_observer, finish
from tnnquant.observers.kl import KL
from tnnquant.observers.minmax import scale_of_threshold

BINS = 2048


def _samples(rng, count=3):
    spread = np.array([1, 30, 0.01]).reshape(1, 3, 1, 1)
    return [(rng.laplace(size=(1, 3, 20, 20)) * spread).astype(np.float32) for _ in range(count)]


def _observe(slots, samples, room=None):
    observer = create_observer("kl", slots)
    for number in range(2):
        if number and room is not None:
            observer._room = room
        for x in samples:
            observer.update(x, number)
    return observer


def _counts(values):
    peak = max(abs(values.min()), abs(values.max()))
    interval = np.float32(np.float32(BINS) / peak)
    values = values[values != 0]
    bins = np.minimum((np.abs(values) * interval).astype(np.float32).astype(np.int64), BINS - 1)
    return np.bincount(bins, minlength=BINS), peak


def _thresholds(counts):
    from tnnquant.kernels.kl import kl_thresholds_naive

    thresholds = np.zeros(len(counts), np.int32)
    kl_thresholds_naive(np.pad(np.array(counts), ((0, 0), (0, 1))), thresholds)
    return thresholds


@pytest.mark.parametrize("slots", [1, 3])
def test_scales_follow_the_reference(rng, slots):
    samples = _samples(rng)
    observer = _observe(slots, samples)
    found = [_counts(row) for row in np.concatenate(samples).swapaxes(0, 1).reshape(slots, -1)]
    scale, zero_point = observer.params()
    np.testing.assert_array_equal(observer.state()["counts"], [counts for counts, _ in found])
    bins = _thresholds([counts for counts, _ in found])
    want = scale_of_threshold(np.array([peak for _, peak in found], np.float32), bins)
    assert scale.tobytes() == want.tobytes()
    assert not zero_point.any()
    assert (bins < BINS - 1).all()


def test_finish_of_many_is_that_of_each(rng):
    """Observers with 1, 2 and 3 slots, one counting in int64, one dead, one without a histogram."""
    samples = _samples(rng)
    members = [_observe(3, samples), _observe(1, samples), _observe(3, samples, room=0)]
    members.append(_observe(3, [np.zeros_like(x) for x in samples]))
    members += [create_observer("kl", 3), create_observer("minmax", 3)]
    finish(members)
    alone = _observe(3, samples)
    np.testing.assert_array_equal(members[0].params()[0], alone.params()[0])
    np.testing.assert_array_equal(members[1].params()[0], _observe(1, samples).params()[0])
    np.testing.assert_array_equal(members[2].params()[0], alone.params()[0])
    assert not members[3].params()[0].any()
    assert members[4].bins is None


def test_counts_widen_before_they_could_overflow(rng):
    samples = _samples(rng, 4)
    narrow = _observe(3, samples)
    assert narrow.counts.dtype == np.int32
    for room in (0, 399, 400, 1000, 1999):
        wide = _observe(3, samples, room)
        assert wide.counts.dtype == np.int64, room
        np.testing.assert_array_equal(wide.state()["counts"], narrow.state()["counts"])
        assert wide.params()[0].tobytes() == narrow.params()[0].tobytes()
    assert _observe(3, samples, 2000).counts.dtype == np.int32


def test_more_samples_after_the_parameters(rng):
    samples = _samples(rng, 2)
    observer = _observe(3, samples[:1])
    observer.params()
    observer.update(samples[0] * np.float32(0.3), 1)
    want = _observe(3, samples[:1])
    want.update(samples[0] * np.float32(0.3), 1)
    assert observer.params()[0].tobytes() == want.params()[0].tobytes()


def test_a_histogram_is_needed(rng):
    observer = create_observer("kl", 3)
    observer.update(_samples(rng, 1)[0], 0)
    with pytest.raises(CalibrationError, match="second time"):
        observer.params()


def test_histograms_of_different_ranges_do_not_merge(rng):
    first, second = (_observe(3, [x]) for x in _samples(rng, 2))
    before = first.state()["counts"].copy()
    with pytest.raises(ValueError, match="merge the ranges first"):
        first.merge(second)
    np.testing.assert_array_equal(first.state()["counts"], before)


def test_interval_of_a_dead_channel_is_0(rng):
    x = _samples(rng, 1)[0]
    x[:, 1] = 0
    interval = _observe(3, [x]).interval()
    assert interval[1] == 0
    assert interval[0] == np.float32(2048) / np.abs(x[:, 0]).max()


def test_kl_cuts_an_outlier_off(rng):
    x = rng.standard_normal((1, 1, 200, 200)).astype(np.float32)
    x[0, 0, 0, 0] = 80
    scale = _observe(1, [x]).params()[0]
    assert scale[0] * 127 < 10


def test_thresholds_of_more_samples_are_followed_up_to_the_own_peak(rng):
    small, large = rng.standard_normal((2, 40, 3)).astype(np.float32)
    large[:, 1] *= 30
    few, first, whole = KL(3), KL(3), KL(3)
    first.update(small, 0)
    for observer, samples in ((few, [small]), (whole, [small, large])):
        for x in (small, large):
            observer.update(x, 0)
        for x in samples:
            observer.update(x, 1)
    KL.finish([whole])
    own = (np.abs(small) * whole.interval()).max(axis=0).astype(int)
    wanted = np.minimum(whole.bins, np.maximum(own, 128))
    for observer in (few, first):  # with a histogram over the range of all, and with the own range alone
        observer.follow(whole)
        KL.finish([observer])
        np.testing.assert_array_equal(observer.bins, wanted)
        np.testing.assert_array_equal(observer.params()[0], scale_of_threshold(whole.peak, wanted))
    assert wanted[1] < whole.bins[1]
