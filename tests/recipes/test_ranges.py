"""Scales of blobs."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.quantize import plan_graph
from tnnquant.recipes.ranges import balanced_scales
from tnnquant.recipes.slots import scale_slots
from tnnquant.recipes.statistics import gather


@dataclass
class Sample:
    name: str
    arrays: dict


@pytest.fixture
def gathered(build, rng):
    """A convolution that reads a heavy-tailed input, and statistics of 48 samples."""
    net = build(dims=(1, 4, 16, 16))
    executor, plan = plan_graph(net.graph(net.conv("input", 4, 8, name="a")), QuantizeConfig())
    arrays = [rng.standard_t(3, (1, 4, 16, 16)).astype(np.float32) for _ in range(48)]
    samples = [Sample(f"s{number}", {"input": array}) for number, array in enumerate(arrays)]
    return executor, plan, gather(executor, plan, samples, {"a": 16})


def input_scales(gathered, statistics):
    executor, plan, _ = gathered
    slots = scale_slots(executor.graph, plan)
    scales, _ = balanced_scales(executor.inference, slots, statistics, np.zeros(slots.count, np.int64))
    return scales["input"].scale


def test_statistics_know_their_samples(gathered):
    statistics = gathered[2]
    assert statistics.samples == 48
    assert statistics.merged(statistics).samples == 96


def test_fewer_samples_clip_less(gathered):
    """The same histograms, said to be of other numbers of samples."""
    statistics = gathered[2]
    few, many = (
        input_scales(gathered, replace(statistics, mean_patch={"a": np.zeros((count, 1, 36))})) for count in (3, 480)
    )
    assert (few >= many).all()
    assert few.mean() > 1.05 * many.mean()
    np.testing.assert_array_equal(many, input_scales(gathered, statistics))
