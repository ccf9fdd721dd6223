"""Models whose files are silent about the codes that mean 0: found out, and compared as what they mean."""

from dataclasses import dataclass

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.inspect.compare import compare_graphs
from tnnquant.inspect.full_codes import with_zero_points, zero_points
from tnnquant.passes import prepare_for_quantization
from tnnquant.recipes.best import Steps, quantize_with


@dataclass
class Sample:
    name: str
    arrays: dict
    fresh: int = 1


class Samples(list):
    """What compare_graphs iterates over."""


def samples(rng, count=8):
    return Samples(
        Sample(f"s{i}", {"input": rng.standard_normal((1, 3, 12, 10)).astype(np.float32)}) for i in range(count)
    )


def net(build):
    """A ReLU before max pooling, one before a concat that is not pooled, a ReLU6, one (point) whose reader pads."""
    net = build()
    stem = net.conv("input", 3, 8, kernel=3, pad=0, name="stem", activation_type=1)
    pooled = net.pool(stem, name="pool")
    point = net.conv(pooled, 8, 16, kernel=1, name="point", activation_type=1)
    padded = net.conv(point, 16, 8, name="padded", activation_type=1)
    six = net.conv(padded, 8, 8, kernel=1, name="six", activation_type=2)
    plain = net.conv(padded, 8, 4, kernel=1, name="plain")
    joined = net.add("Concat", [six, plain], 1, name="joined")
    return net.graph(net.conv(joined, 12, 5, kernel=1, name="last"))


@pytest.fixture
def made(build, rng):
    graph = net(build)
    result = quantize_with(graph, samples(rng), QuantizeConfig(recipe="best"), Steps(full_range=True))
    return graph, result


def test_the_codes_are_those_the_recipe_chose(made):
    graph, result = made
    found = zero_points(result.graph, prepare_for_quantization(graph))
    assert {blob for blob, codes in found.items() if codes.any()} == set(result.zero_codes)
    assert set(result.zero_codes) == {"stem_out", "pool_out", "padded_out", "six_out", "joined_out"}
    for blob, codes in result.zero_codes.items():
        np.testing.assert_array_equal(np.broadcast_to(codes, found[blob].shape), found[blob], err_msg=blob)
    assert found["stem_out"][0] == -127
    assert found["six_out"][0] == -128


def test_errors_are_those_of_what_the_codes_mean(made, rng):
    graph, result = made
    errors = compare_graphs(result.graph, graph, samples(rng))
    for row in errors.layers:
        assert row.isolated.sqnr_db > 25, row.name
        assert row.cumulative.sqnr_db > 20, row.name
        if row.weights:
            assert row.weights.sqnr_db > 30, row.name


def test_other_models_stay_as_they_are(build, rng):
    graph = net(build)
    result = quantize_with(graph, samples(rng), QuantizeConfig(recipe="best"), Steps(balance=True))
    assert with_zero_points(result.graph, prepare_for_quantization(graph)) is result.graph
