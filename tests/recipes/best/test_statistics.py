"""What is gathered of the fp32 network."""

import numpy as np
import pytest

from tests.recipes.normal_samples import Sample, samples
from tnnquant.config import QuantizeConfig
from tnnquant.recipes.best import statistics
from tnnquant.recipes.best.network import prepare
from tnnquant.recipes.best.statistics import gather


def prepared(build):
    net = build()
    return prepare(net.graph(net.conv(net.conv("input", 3, 8, name="a"), 8, 5, name="b")), QuantizeConfig())


def gathered(network, data, chosen, known=None):
    windows = dict.fromkeys(("a", "b"), 20)
    return gather(network.executor, network.plan, data, windows, chosen, known=known, outputs=10)


def assert_same(one, other):
    assert one.counts.keys() == other.counts.keys()
    for blob, mine in one.counts.items():
        assert mine.first == other.counts[blob].first
        np.testing.assert_array_equal(mine.counts, other.counts[blob].counts)
        np.testing.assert_array_equal(one.peak[blob], other.peak[blob])
        np.testing.assert_array_equal(one.low[blob], other.low[blob])
    for name, sums in one.window_sums.items():
        np.testing.assert_allclose(sums, other.window_sums[name], rtol=1e-12, atol=1e-12)
        assert len(one.wanted[name]) == len(other.wanted[name]) == len(one.chosen)


@pytest.mark.parametrize("growth", [1.0, 300.0])
def test_bins_left_out_tell_nothing_even_if_later_samples_are_much_larger(build, rng, monkeypatch, growth):
    network = prepared(build)
    data = samples(rng)
    data[5] = Sample("large", {"input": data[5].arrays["input"] * growth})
    narrow = gathered(network, data, range(4))
    monkeypatch.setattr(statistics, "_bins_needed", lambda *args: {})
    assert_same(narrow, gathered(network, data, range(4)))


def test_samples_may_come_in_two_parts(build, rng):
    network, data = prepared(build), samples(rng)
    whole = gathered(network, data, [0, 1, 8, 9])
    parts = gathered(network, data[8:], [0, 1], gathered(network, data[:8], [0, 1]))
    assert (parts.samples, parts.chosen) == (12, (0, 1, 8, 9))
    assert_same(parts, whole)
    np.testing.assert_allclose(parts.mean_window("a"), parts.window_sums["a"] / 4)


def test_of_many_values_some_are_counted_and_all_give_the_peaks(build, rng):
    network, data = prepared(build), samples(rng)
    whole = gathered(network, data, range(4))
    height, width = network.executor.specs["input"].dims[2:]
    some = gather(network.executor, network.plan, data, {"a": 20, "b": 20}, range(4), places=height * width // 4)
    counted = -(-height // 2) * -(-width // 2)
    np.testing.assert_array_equal(some.counts["input"].totals * height * width, whole.counts["input"].totals * counted)
    np.testing.assert_array_equal(some.peak["input"], whole.peak["input"])
