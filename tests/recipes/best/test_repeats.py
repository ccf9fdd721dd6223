"""Channels that are made several times: the same network in fp32, a finer one in int8."""

from dataclasses import replace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model, write_model
from tnnquant.graph.repeats import repeated_like, with_repeats
from tnnquant.inputs.split import Split
from tnnquant.inspect.compare import compare_graphs
from tnnquant.recipes.best.network import prepare, with_useful_repeats
from tnnquant.recipes.best.repeats import _worth, chosen_channels, offsets_of, sites_of
from tnnquant.recipes.best.workbench import STEPS, Effort, Steps, Workbench, quantize_with

from ..normal_samples import samples, squared_error

BEST = QuantizeConfig(recipe="best", fp32_share=0.0)
ALL = Steps(**dict.fromkeys(STEPS, True))


def stem_net(build, activation="ReLU6", dominant=4.0):
    """A first convolution whose channel 1 a depthwise layer takes many times as it is; returns the graph."""
    net = build(dims=(1, 3, 12, 10))
    a = net.add(activation, net.conv("input", 3, 8, name="stem"))
    b = net.add(activation, net.conv(a, 8, 8, groups=8, name="deep"))
    weights = net.nodes[-2].resource.tensors["filter"].data
    weights.reshape(8, 9)[1] *= dominant
    weights.reshape(8, 9)[1] -= weights.reshape(8, 9)[1].mean()  # differences alone, as an edge detector
    c = net.conv(b, 8, 6, kernel=1, name="point")
    net.conv(net.conv(c, 6, 32, name="wide"), 32, 64, name="last")  # next to which a channel more costs nothing
    return net.graph("last_out")


@pytest.fixture
def network(build):
    return prepare(stem_net(build), BEST)


def test_sites_are_convolutions_and_the_depthwise_ones_behind_them(network):
    found = [
        (site.maker.name, site.depthwise and site.depthwise.name, [reader.name for reader in site.readers])
        for site in sites_of(network.executor.inference, network.plan)
    ]
    assert found == [("stem", "deep", ["point"]), ("point", None, ["wide"]), ("wide", None, ["last"])]


def test_the_channel_that_does_most_harm_is_chosen(network, rng):
    chosen = {
        site.maker.name: channels for site, channels in chosen_channels(network.executor, network.plan, samples(rng))
    }
    assert np.bincount(chosen["stem"]).argmax() == 1
    assert 1 in chosen["stem"][:4]


def test_channels_are_worth_what_they_save_of_the_noise_that_is_left():
    loud, even = np.array([1000.0, 1, 1, 1, 1, 1, 1, 1]), np.full(8, 10.0)
    first = _worth([loud, even], [1e-3, 1e-3])
    assert first[0][:4] == [0] * 4  # nothing else tells beside it
    assert len(first[1]) == 8  # but once it is five times there
    assert _worth([loud, even], [1e-3, 1.0])[1] == []
    assert _worth([np.zeros(8)], [1e-3]) == [[]]


def test_channels_are_repeated_through_a_max_pooling(build, rng):
    net = build(dims=(1, 3, 12, 10))
    a = net.conv("input", 3, 8, name="stem", activation_type=1)
    pooled = net.pool(a, 0, kernel=3, pad=1, name="pool")
    graph = net.graph(net.conv(pooled, 8, 6, kernel=1, name="point"))
    network = prepare(graph, BEST)
    (site,) = sites_of(network.executor.inference, network.plan)
    assert (site.maker.name, site.between.name, site.depthwise) == ("stem", "pool", None)
    channels = np.array([1, 1, 5, 0])
    repeated = with_repeats(network.executor.graph, [(site, channels)])
    arrays = samples(rng, 1)[0].arrays
    before, after = (Executor(each, exact=True).run(dict(arrays)) for each in (network.executor.graph, repeated))
    np.testing.assert_allclose(after["point_out"], before["point_out"], rtol=1e-4, atol=1e-5)
    offsets = offsets_of([(site, channels)])
    np.testing.assert_array_equal(offsets["stem_out"], offsets["pool_out"])


def test_nothing_changes_in_fp32(network, rng):
    sites = sites_of(network.executor.inference, network.plan)
    graph = with_repeats(network.executor.graph, [(sites[0], np.array([1, 1, 5, 0])), (sites[1], np.array([2]))])
    data = samples(rng, 2)[0].arrays
    before, after = (
        Executor(each, exact=True).run({k: v.copy() for k, v in data.items()})
        for each in (network.executor.graph, graph)
    )
    np.testing.assert_allclose(after["last_out"], before["last_out"], rtol=1e-4, atol=1e-5)


def test_a_bias_that_the_layer_denies_is_repeated_too(network):
    """The int8 form adds what is in the file, whatever the parameter says."""
    graph = network.executor.graph
    without = [node.replace(layer=replace(node.layer, bias=0)) if node.name == "stem" else node for node in graph.nodes]
    denied = graph.with_nodes(without)
    site = sites_of(network.executor.inference, network.plan)[0]
    taller = with_repeats(denied, [(replace(site, maker=denied.node("stem")), np.array([1, 5]))]).node("stem")
    bias = graph.node("stem").tensors["bias"].data
    np.testing.assert_array_equal(taller.tensors["bias"].data, [*bias, bias[1], bias[5]])


def test_offsets_spread_the_codes_of_a_channel_evenly_around_0(network):
    site = sites_of(network.executor.inference, network.plan)[0]
    offsets = offsets_of([(site, np.array([1, 1, 5, 0]))])
    assert set(offsets) == set(site.blobs)
    wanted = [-0.25, -1 / 3, 0, 0, 0, -0.25, 0, 0, 0, 1 / 3, 0.25, 0.25]
    np.testing.assert_allclose(offsets[site.blobs[0]], wanted)
    values = np.random.default_rng(3).random(10_000) * 40
    codes = np.mean([np.rint(values + offset) for offset in (-1 / 3, 0, 1 / 3)], axis=0)
    assert np.square(codes - values).mean() == pytest.approx(1 / 12 / 9, rel=0.05)


def test_int8_comes_closer_and_loads_again(build, rng, tmp_path):
    graph, data, others = stem_net(build), Split(samples(rng, 16)), samples(rng)
    bare = Workbench(graph, data, BEST, effort=Effort(repeats=False)).quantize(ALL)
    result = quantize_with(graph, data, BEST, ALL)
    assert result.graph.node("stem").layer.output_channel > 8 == bare.graph.node("stem").layer.output_channel
    assert squared_error(result, others) < 0.9 * squared_error(bare, others)
    pair = tmp_path / "a.tnnproto", tmp_path / "a.tnnmodel"
    write_model(result.graph, *pair)
    again = Executor(read_model(*pair))
    arrays = others[0].arrays
    for blob, array in Executor(result.graph).run(arrays).items():
        np.testing.assert_array_equal(again.run(arrays)[blob], array)


def test_the_file_tells_which_channels_are_repeated(build, rng):
    graph, data = stem_net(build), Split(samples(rng, 16))
    result = quantize_with(graph, data, BEST, ALL)
    fp32 = prepare(graph, BEST).executor.graph
    alike = repeated_like(result.graph, fp32)
    for name in ("stem", "deep"):
        for tensor, array in result.fp32.node(name).tensors.items():
            np.testing.assert_array_equal(alike.node(name).tensors[tensor].data, array.data)
    assert repeated_like(Workbench(graph, data, BEST, effort=Effort(repeats=False)).quantize(ALL).graph, fp32) is fp32


def test_inspection_beside_fp32_sees_every_layer(build, rng):
    graph, data = stem_net(build), samples(rng, 16)
    for sample in data:
        sample.fresh = 1
    errors = compare_graphs(quantize_with(graph, Split(data), BEST, ALL).graph, graph, data[:4])
    assert {row.name for row in errors.layers} >= {"stem", "deep", "point"}
    assert errors.outputs["last_out"].sqnr_db > 20


def test_layers_kept_in_fp32_make_repeats_needless(build, rng):
    config = QuantizeConfig(recipe="best")
    assert (
        quantize_with(stem_net(build), Split(samples(rng, 16)), config, ALL).graph.node("stem").layer.output_channel
        == 8
    )


def test_without_a_site_the_network_stays_as_it_is(build, rng):
    net = build(dims=(1, 3, 12, 10))
    net.conv("input", 3, 4, name="only")
    network = prepare(net.graph("only_out"), BEST)
    assert with_useful_repeats(network, samples(rng)) is network
