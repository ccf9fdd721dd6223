"""Residual streams with repeated channels: the same network in fp32, a finer stream in int8."""

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph.lower import lower
from tnnquant.graph.repeats import repeated_like, sites_of_graph, with_repeats
from tnnquant.inputs.split import Split
from tnnquant.inspect.compare import compare_graphs
from tnnquant.layers.convolution import ConvolutionAdd
from tnnquant.recipes.best import repeats
from tnnquant.recipes.best.network import prepare
from tnnquant.recipes.best.repeats import chosen_channels, joins_of, offsets_of, sites_of
from tnnquant.recipes.best.workbench import STEPS, Effort, Steps, Workbench

from ..normal_samples import samples, squared_error

BEST = QuantizeConfig(recipe="best", fp32_share=0.0)
ALL = Steps(**dict.fromkeys(STEPS, True))


def block(net, source, number, width=24):
    """What a MobileNetV2 adds to its stream of 4 channels."""
    wide = net.conv(source, 4, width, kernel=1, name=f"expand{number}", activation_type=2)
    deep = net.conv(wide, width, width, groups=width, name=f"deep{number}", activation_type=2)
    return net.conv(deep, width, 4, kernel=1, name=f"project{number}")


def stream_net(build, blocks=3):
    net = build(dims=(1, 3, 12, 10))
    stream = net.conv(net.conv("input", 3, 8, name="stem", activation_type=2), 8, 4, kernel=1, name="start")
    for number in range(blocks):
        stream = net.add("Add", [stream, block(net, stream, number)], name=f"sum{number}")
    return net.graph(net.conv(stream, 4, 64, kernel=1, name="last"))


@pytest.fixture
def network(build):
    return prepare(stream_net(build), BEST)


@pytest.fixture
def stream(network):
    return next(site for site in sites_of(network.executor.inference, network.plan) if site.joins)


def test_a_stream_is_one_site(stream):
    assert stream.maker.name == "start"
    assert [(join.branch.name, join.add.name, join.before) for join in stream.joins] == [
        ("project0", "sum0", "start_out"), ("project1", "sum1", "sum0_out"), ("project2", "sum2", "sum1_out")
    ]  # fmt: skip
    assert [reader.name for reader in stream.readers] == ["expand0", "expand1", "expand2", "last"]
    assert stream.blobs == ("start_out", "sum0_out", "sum1_out", "sum2_out")


def test_what_is_no_stream(build):
    """An output, a sum of two streams, a layer between that is no convolution."""
    net = build()
    start = net.conv("input", 3, 4, name="start")
    summed = net.add("Add", [start, block(net, start, 0)], name="sum")
    net.conv(summed, 4, 8, name="last")
    assert [site.maker.name for site in sites_of_graph(net.graph("last_out")) if site.joins] == ["start"]
    assert not [site for site in sites_of_graph(net.graph("last_out", "sum_out")) if site.joins]
    net = build()
    start = net.conv("input", 3, 4, name="start")
    both = net.add("Add", [start, net.add("HardSwish", block(net, start, 0), 1 / 6, 0.5)], name="sum")
    assert not [site for site in sites_of_graph(net.graph(net.conv(both, 4, 8, name="last"))) if site.joins]
    net = build()
    start = net.conv("input", 3, 4, name="start")
    twice = net.add("Add", [start, net.add("Add", [start, block(net, start, 0)], name="a")], name="b")
    assert not [site for site in sites_of_graph(net.graph(net.conv(twice, 4, 8, name="last"))) if site.joins]


def test_nothing_changes_in_fp32(network, stream, rng):
    graph = with_repeats(network.executor.graph, [(stream, np.array([3, 3, 0, 1]))])
    assert [graph.node(name).layer.output_channel for name in ("start", "project0", "project2")] == [8, 8, 8]
    assert [graph.node(name).layer.input_channel for name in ("expand1", "last")] == [8, 8]
    arrays = samples(rng, 1)[0].arrays
    before, after = (Executor(each, exact=True).run(dict(arrays)) for each in (network.executor.graph, graph))
    np.testing.assert_allclose(after["last_out"], before["last_out"], rtol=1e-4, atol=1e-5)


def test_offsets_come_and_go_along_a_stream(stream):
    offsets = offsets_of([(stream, np.array([1, 1, 2, 0]))])
    wanted = [-0.25, -1 / 3, -0.25, 0, 0, 1 / 3, 0.25, 0.25]
    assert set(offsets) == set(stream.blobs)
    for blob, there in zip(stream.blobs, (1, 0, 1, 0), strict=True):
        np.testing.assert_allclose(offsets[blob], np.array(wanted) * there)
    assert joins_of([(stream, np.array([1]))])["project1_out"] == ("sum1_out", "sum0_out")


def test_int8_comes_closer(build, rng, monkeypatch):
    """All channels of the stream alone are made twice: its noise falls."""
    graph, data, others = stream_net(build), Split(samples(rng, 16)), samples(rng)
    for sample in others:
        sample.fresh = 1
    bare = Workbench(graph, data, BEST, effort=Effort(repeats=False)).quantize(ALL)

    def twice(executor, plan, *rest):
        return [(site, np.arange(4)) for site in sites_of(executor.inference, plan) if site.joins]

    monkeypatch.setattr("tnnquant.recipes.best.network.chosen_channels", twice)
    result = Workbench(graph, data, BEST, effort=Effort(repeats=True)).quantize(ALL)
    assert result.graph.node("project1").layer.output_channel == 8

    def noise(model, count):
        """Of the stream's last blob: what the mean of its copies is off fp32, relative."""
        name, total, power = "sum2_out", 0.0, 0.0
        scale = model.graph.scales[name].scale.reshape(1, -1, 1, 1)
        for sample in others:
            seen = {}
            Executor(model.graph).run(sample.arrays, lambda blob, x, seen=seen: seen.update({blob: np.array(x)}))
            want = {}
            Executor(model.fp32).run(sample.arrays, lambda blob, x, want=want: want.update({blob: np.array(x)}))
            value = (seen[name] * scale).reshape(1, count, 4, *seen[name].shape[2:]).mean(axis=1)
            total += np.square(value - want[name][:, :4]).sum()
            power += np.square(want[name][:, :4]).sum()
        return total / power

    assert noise(result, 2) < 0.75 * noise(bare, 1)
    assert squared_error(result, others) < squared_error(bare, others)
    fused = [node.name for node in lower(result.graph).nodes if isinstance(node.layer, ConvolutionAdd)]
    assert fused == ["project0", "project1", "project2"]
    alike = repeated_like(result.graph, prepare(graph, BEST).executor.graph)
    assert [alike.node(name).layer.output_channel for name in ("start", "project0", "project2")] == [8, 8, 8]
    errors = compare_graphs(result.graph, graph, others[:2])
    assert {row.name for row in errors.layers} >= {"start", "project1", "sum2", "last"}


def test_the_noise_of_a_stream_is_measured_as_a_whole(network, rng, monkeypatch):
    monkeypatch.setattr(repeats, "_costs", lambda inference, sites: [1e-6 if site.joins else 1.0 for site in sites])
    chosen = chosen_channels(network.executor, network.plan, samples(rng, 8))
    assert [site.maker.name for site, _ in chosen] == ["start"]
    assert len(chosen[0][1]) == 4
    assert chosen_channels(network.executor, network.plan, samples(rng, 8), streams=False) == []
