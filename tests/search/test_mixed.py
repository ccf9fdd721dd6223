"""The smallest set of layers in fp32."""

import numpy as np
import pytest

from tnnquant.engine.executor import Executor
from tnnquant.quantization.quantize import quantize_graph
from tnnquant.search.mixed import MOST_FLOAT, candidates, float_layers, smallest_set

NOISE = {"a": 1.0, "b": 8.0, "c": 2.0, "d": 4.0, "e": 0.5}


def find(target, names="abcde", cost=None, in_time=lambda share: True):
    """Noises add up; ``target`` is the most that may be left."""
    asked = []

    def reaches(layers):
        asked.append(tuple(layers))
        return sum(NOISE.values()) - sum(NOISE[name] for name in layers) <= target

    return smallest_set(list(names), cost or {}, NOISE.get, reaches, in_time), asked


@pytest.mark.parametrize(
    ("target", "expected"),
    [(20, ""), (8, "b"), (7.4, "bd"), (3.5, "bd"), (1.5, "bdc"), (0, "bdcae")],
)
def test_the_noisiest_layers_as_few_as_do(target, expected):
    found, asked = find(target)
    assert (found.layers, found.reached, found.complete) == (tuple(expected), True, True)
    assert len(asked) <= 10


def test_layers_that_turn_out_not_to_be_needed_go_back():
    # b and d share their noise: with d in fp32, b costs nothing.
    def reaches(layers):
        return "d" in layers

    found = smallest_set(list("abcde"), {}, NOISE.get, reaches, lambda share: True)
    assert found.layers == ("d",)


def test_no_more_than_half_of_the_work_becomes_fp32():
    cost = {"b": 0.45, "d": 0.3, "c": 0.05}
    found, _ = find(3, cost=cost)
    assert not found.reached
    assert found.layers == ("b", "c", "a", "e")
    assert sum(cost.get(name, 0) for name in found.layers) <= MOST_FLOAT


def test_when_time_is_up_the_best_so_far_is_given():
    shares = []

    def in_time(share):
        shares.append(share)
        return len(shares) < 2

    found, _ = find(8.5, in_time=in_time)
    assert found.noise == {"a": 1.0, "b": 8.0}
    assert (found.layers, found.reached, found.complete) == (("b", "a"), True, False)


def test_float_layers_take_what_passes_behind_them_along(build, rng):
    net = build()
    a = net.conv("input", 3, 4, name="a")
    p = net.pool(a, name="p")
    graph = net.graph(net.conv(net.conv(p, 4, 4, name="b"), 4, 4, name="c"))
    samples = [
        type("Sample", (), {"name": "s", "arrays": {"input": rng.standard_normal((1, 3, 12, 10), np.float32)}})
        for _ in range(3)
    ]
    result = quantize_graph(graph, samples)
    assert candidates(result.graph, ["c"]) == ["c", "a", "b"]
    mixed = float_layers(result.graph, result.fp32, ["a"])
    assert [node.quantized for node in mixed.nodes] == [False, False, True, True]
    assert set(mixed.scales) == {p, "b_out", "c_out"}
    assert mixed.nodes[2] is result.graph.nodes[2]
    everything = float_layers(result.graph, result.fp32, ["a", "b", "c"])
    assert not everything.is_quantized
    (wanted,), (got,) = (list(Executor(g).run(samples[0].arrays).values()) for g in (graph, everything))
    np.testing.assert_array_equal(wanted, got)
