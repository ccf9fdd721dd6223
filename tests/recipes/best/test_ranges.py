"""Scales of blobs."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.quantization.quantize import plan_graph
from tnnquant.recipes.best.ranges import _clipped, balanced_scales
from tnnquant.recipes.best.slots import scale_slots
from tnnquant.recipes.best.statistics import gather


@dataclass
class Sample:
    name: str
    arrays: dict


@pytest.fixture
def gathered(build, rng):
    return statistics_of(build, rng, pooled=True)


def statistics_of(build, rng, pooled):
    """A convolution that reads a heavy-tailed input, before class scores or a map, and statistics of 48 samples."""
    net = build(dims=(1, 4, 16, 16))
    out = net.conv("input", 4, 8, name="a")
    graph = net.graph(net.pool(out, kind=1, kernel=0, stride=1, name="scores") if pooled else out)
    executor, plan = plan_graph(graph, QuantizeConfig())
    arrays = [rng.standard_t(3, (1, 4, 16, 16)).astype(np.float32) for _ in range(48)]
    samples = [Sample(f"s{number}", {"input": array}) for number, array in enumerate(arrays)]
    return executor, plan, gather(executor, plan, samples, {"a": 16}, range(len(samples)))


def input_scales(gathered, statistics):
    executor, plan, _ = gathered
    slots = scale_slots(executor.graph, plan)
    zero, low = np.zeros(slots.count, np.int64), np.zeros(slots.count)
    scales, _ = balanced_scales(executor.inference, slots, statistics, zero, low)
    return scales["input"].scale


def with_samples(statistics, count):
    """The same histograms, said to be of another number of samples."""
    return replace(statistics, samples=count)


def test_fewer_samples_clip_less(gathered):
    statistics = gathered[2]
    few, many = (input_scales(gathered, with_samples(statistics, count)) for count in (3, 480))
    assert (few >= many).all()
    assert few.mean() > 1.05 * many.mean()
    np.testing.assert_array_equal(many, input_scales(gathered, statistics))


def test_what_makes_maps_clips_less_than_a_classifier(build):
    maps, classes = (statistics_of(build, np.random.default_rng(1), pooled=pooled) for pooled in (False, True))
    np.testing.assert_array_equal(*(made[2].counts["input"].whole() for made in (maps, classes)))
    wide, narrow = input_scales(maps, maps[2]), input_scales(classes, classes[2])
    assert (wide >= narrow).all()
    assert wide.mean() > 1.02 * narrow.mean()
    for made, most in ((maps, 8), (classes, 2)):
        for count, wanted in ((480, most), (48, most), (12, 2 * most), (3, 4 * most)):
            assert _clipped(made[0].inference, with_samples(made[2], count)) == wanted
