"""KL thresholds: the vectorized search against TNN's steps, and against the definition in float64."""

import numba
import numpy as np
import pytest

from tnnquant.kernels.kl import GROUPS, kl_curve, kl_thresholds, kl_thresholds_naive
from tnnquant.kernels.stats import BINS


def _count(values):
    """Counts of the magnitudes of an array over its own range, zeros left out; the last column holds rubbish."""
    values = np.abs(values[values != 0])
    counts = np.full(BINS + 1, 12345, np.int32)
    counts[:BINS] = np.histogram(values, BINS, (0, values.max()))[0]
    return counts


def _sparse(rng, bins, most=1000):
    counts = np.zeros(BINS + 1, np.int32)
    counts[rng.choice(BINS, bins, replace=False)] = rng.integers(1, most, bins)
    return counts


def _one_bin(k, count=77):
    counts = np.zeros(BINS + 1, np.int32)
    counts[k] = count
    return counts


def _histograms(rng):
    """Histograms of many kinds by name."""
    normal = rng.standard_normal(60000)
    found = {
        "gaussian": _count(normal),
        "few gaussian": _count(normal[:300]),
        "relu": _count(np.maximum(normal - 0.5, 0)),
        "laplace": _count(rng.laplace(size=40000)),
        "heavy tail": _count(rng.standard_t(2, 40000)),
        "one outlier": _count(np.append(normal, 60)),
        "uniform": _count(rng.random(50000)),
        "sparse": _sparse(rng, 40),
        "very sparse": _sparse(rng, 5),
        "empty": _one_bin(0, 0),
        "first bin": _one_bin(0),
        "bin 127": _one_bin(127),
        "bin 128": _one_bin(128),
        "last bin": _one_bin(BINS - 1),
        "two bins": _one_bin(3) + _one_bin(BINS - 1, 1),
        "two far bins": _one_bin(900, 5) + _one_bin(BINS - 1, 9000),
        "lattice": _one_bin(0, 0),
    }
    found["lattice"][16:BINS:16] = rng.integers(1, 500, BINS // 16 - 1)
    return found


def _thresholds(kernel, counts):
    thresholds = np.full(len(counts), -1, np.int32)
    kernel(counts, thresholds)
    return thresholds


def _divergences(counts):
    """The definition (docs/tnn-format.md, 7.6.1) in float64, by explicit steps: the divergence of each threshold."""
    d = counts[:BINS].astype(np.float64) + 1e-7
    d /= d.sum()
    found = np.full(BINS, np.inf)
    for i in range(GROUPS, BINS):
        # Cells between the borders of bins and groups, in units of 1/GROUPS of a bin.
        bins, groups = np.arange(i) * GROUPS, np.arange(GROUPS) * i
        cells = np.union1d(bins, groups)
        lengths = np.diff(np.append(cells, i * GROUPS)) / GROUPS
        mass = np.add.reduceat(lengths * d[cells // GROUPS], np.searchsorted(cells, groups))
        values = mass / (i / GROUPS)
        candidate = np.add.reduceat(lengths * values[cells // i], np.searchsorted(cells, bins))
        ref = d[:i].copy()
        ref[i - 1] += d[i:].sum()
        found[i] = (ref * np.log(ref / candidate)).sum()
    return found


def test_naive_curve_is_the_definition(rng):
    for name in ("few gaussian", "heavy tail", "uniform"):
        counts = _histograms(rng)[name]
        curve = np.empty(BINS, np.float32)
        kl_curve(counts, curve)
        assert np.isposinf(curve[:GROUPS]).all()
        np.testing.assert_allclose(curve[GROUPS:], _divergences(counts)[GROUPS:], rtol=2e-3, atol=2e-5, err_msg=name)


def test_thresholds_equal_the_naive_ones(rng):
    histograms = _histograms(rng)
    counts = np.stack(list(histograms.values()))
    want = dict(zip(histograms, _thresholds(kl_thresholds_naive, counts).tolist(), strict=True))
    assert dict(zip(histograms, _thresholds(kl_thresholds, counts).tolist(), strict=True)) == want
    assert all(GROUPS <= t < BINS for t in want.values())
    assert want["one outlier"] < BINS // 2


def test_an_outlier_is_cut_off_and_a_uniform_range_is_kept(rng):
    histograms = _histograms(rng)
    outlier, uniform = _thresholds(kl_thresholds, np.stack([histograms["one outlier"], histograms["uniform"]]))
    assert outlier < 300
    assert uniform > 1900


@pytest.mark.parametrize("slots", [1, 7, 8, 9, 17])
def test_the_number_of_slots_does_not_matter(rng, slots):
    kinds = np.stack(list(_histograms(rng).values()))
    assert len(kinds) == 17
    whole = _thresholds(kl_thresholds, kinds)
    np.testing.assert_array_equal(_thresholds(kl_thresholds, np.ascontiguousarray(kinds[-slots:])), whole[-slots:])


def test_no_slots():
    assert _thresholds(kl_thresholds, np.zeros((0, BINS + 1), np.int32)).size == 0


def test_the_type_of_the_counts_and_the_column_of_zeros_do_not_matter(rng):
    counts = np.stack(list(_histograms(rng).values()))
    want = _thresholds(kl_thresholds, counts)
    wide = counts.astype(np.int64)
    wide[:, BINS] = -1
    np.testing.assert_array_equal(_thresholds(kl_thresholds, wide), want)


def test_the_number_of_threads_does_not_matter(rng):
    counts = np.stack([_count(rng.standard_normal(2000)) for _ in range(17)])
    want, before = _thresholds(kl_thresholds, counts), numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(_thresholds(kl_thresholds, counts), want)
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("factor", [2**12, 2**20, 2**31])
def test_counts_beyond_float32(rng, factor):
    """TNN's counters stop at 2**24. Here the threshold is a best one of the exact counts, within 0.1 %."""
    for name in ("gaussian", "relu", "heavy tail", "one outlier", "sparse"):
        counts = _histograms(rng)[name].astype(np.int64) * factor
        counts[:BINS] += rng.integers(0, factor, BINS) * (counts[:BINS] > 0)
        assert counts[:BINS].sum() > 2**24
        curve = _divergences(counts)
        threshold = _thresholds(kl_thresholds, counts[None])[0]
        assert curve[threshold] <= curve.min() * 1.001 + 1e-7, (name, threshold, int(curve.argmin()))
