"""Copies where int8 and fp32 layers meet in a way that the ARM device cannot stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.devices import examine
from tnnquant.engine.executor import Executor
from tnnquant.format import write_model
from tnnquant.graph.meaning import meaning_of
from tnnquant.inputs.split import Split
from tnnquant.quantization.borders import BORDER, INPUT, with_copies_at_borders
from tnnquant.quantization.quantize import quantize_graph
from tnnquant.recipes.best.workbench import Steps, quantize_with


def pictures(rng, dims, count=4):
    return [SimpleNamespace(name=f"s{i}", arrays={"input": rng.standard_normal(dims).astype(np.float32)})
            for i in range(count)]  # fmt: skip


def border_net(build, channels):
    """int8, then fp32 layers after a sigmoid and at once."""
    net = build((1, 3, 8, 8))
    x = net.conv("input", 3, channels, name="first")
    y = net.conv(net.add("Sigmoid", x), channels, 8, name="second")
    z = net.conv(x, channels, 8, kernel=1, name="third")
    return net.graph(net.conv(net.add("Concat", [y, z], 1), 16, 4, name="last"))


@pytest.mark.parametrize(("channels", "copied"), [(8, False), (9, True), (10, True), (12, False), (17, True)])
def test_ragged_borders_get_a_copy(build, rng, channels, copied):
    graph, samples = border_net(build, channels), pictures(rng, (1, 3, 8, 8))
    naive = quantize_graph(graph, samples, QuantizeConfig(exclude=("second", "third"), device="naive"))
    result = quantize_graph(graph, samples, QuantizeConfig(exclude=("second", "third")))
    assert [f for f in examine(naive.graph, "arm") if f.rule == "int8 border"] or not copied
    assert not [f for f in examine(result.graph, "any") if f.outcome.breaks]
    copies = [node for node in result.graph.nodes if node.name == "first_out_copy"]
    assert len(copies) == copied
    if copied:
        readers = {node.name for node in result.graph.consumers()["first_out_copy"]}
        assert readers == {"third", result.graph.nodes[2].name}
        assert not result.graph.consumers()["first_out"][1:], "the copy alone reads the blob"
        assert list(result.plan.reasons.values()).count(BORDER) == 1
    assert {n.name for p, n in enumerate(result.graph.nodes) if p in result.plan.int8} == {
        n.name for n in result.graph.nodes if n.quantized
    }
    assert [n.name for n in result.fp32.nodes] == [n.name for n in result.graph.nodes]
    arrays = samples[0].arrays
    for name, values in Executor(naive.graph).run(arrays).items():
        np.testing.assert_array_equal(Executor(result.graph).run(arrays)[name], values)
    for name, values in Executor(graph).run(arrays).items():
        np.testing.assert_allclose(result.executor.run(arrays)[name], values, rtol=1e-5, atol=1e-6)


def deconvolution_net(build):
    net = build((1, 3, 6, 6))
    x = net.add("ReLU", net.conv("input", 3, 8, name="first"))
    weight = net.rng.standard_normal((1, 8, 8, 2, 2)).astype(np.float32)
    x = net.add(
        "Deconvolution", x, 1, 8, 8, 2, 2, 2, 2, 0, 0, 1, -1, 1, 1, 0, name="up",
        tensors={"filter": weight, "bias": np.zeros(8, np.float32)},
    )  # fmt: skip
    return net.graph(net.conv(x, 8, 4, name="last"))


def test_the_input_is_copied_before_a_deconvolution(build, rng, tmp_path):
    graph, samples = deconvolution_net(build), pictures(rng, (1, 3, 6, 6))
    naive = quantize_graph(graph, samples, QuantizeConfig(device="naive"))
    assert [f.outcome for f in examine(naive.graph, "arm")] == ["refused"]
    result = quantize_graph(graph, samples, QuantizeConfig())
    assert not [f for f in examine(result.graph, "any") if f.outcome.breaks]
    first = result.graph.nodes[0]
    assert (first.name, first.inputs, first.quantized) == ("input_copy", ("input",), False)
    assert INPUT in result.plan.reasons.values()
    assert result.graph.node("first").quantized
    assert "input" not in result.graph.scales
    np.testing.assert_array_equal(result.graph.scales["input_copy"].scale, naive.graph.scales["input"].scale)
    for name, values in Executor(naive.graph).run(samples[0].arrays).items():
        np.testing.assert_array_equal(Executor(result.graph).run(samples[0].arrays)[name], values)
    write_model(result.graph, tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")


def test_an_fp32_activation_behind_int8_is_kept_apart(build, rng):
    net = build((1, 4, 6, 6))
    x = net.conv("input", 4, 8, name="first")
    y = net.add("Add", [net.conv(x, 8, 8, kernel=1, name="point"), x], -1, name="sum")
    graph = net.graph(net.conv(net.add("ReLU", y, name="gate"), 8, 4, name="last"))
    samples = pictures(rng, (1, 4, 6, 6))
    result = quantize_graph(graph, samples, QuantizeConfig(device="naive"))
    assert result.graph.node("gate").quantized
    nodes = [node.replace(quantized=node.quantized and node.name != "gate") for node in result.graph.nodes]
    broken = result.graph.with_nodes(nodes)
    assert {f.rule for f in examine(broken, "any") if f.outcome.breaks} == {"fp32 activation after int8"}
    made = with_copies_at_borders(replace(result, graph=broken), QuantizeConfig()).graph
    assert not [f for f in examine(made, "any") if f.outcome.breaks]
    assert made.node("gate").inputs == ("sum_out_copy",)


def test_an_fp32_activation_that_tnn_does_not_fuse_stays_where_it_is(build, rng):
    net = build((1, 4, 6, 6))
    x = net.conv("input", 4, 8, name="first")
    y = net.add("ReLU", x, name="gate")
    graph, samples = net.graph(net.add("Concat", [y, x], 1)), pictures(rng, (1, 4, 6, 6))
    result = quantize_graph(graph, samples, QuantizeConfig(exclude=("gate",)))
    assert not [f for f in examine(result.graph, "any") if f.outcome.breaks]
    assert result.graph.node("gate").inputs == ("first_out",)


@pytest.mark.parametrize("kind", ["ReLU", "ReLU6", "Swish"])
def test_an_activation_of_an_output_is_kept_apart(build, rng, kind):
    net = build((1, 4, 6, 6))
    x = net.conv("input", 4, 8, name="first")
    graph = net.graph(net.conv(net.add(kind, x, name="gate"), 8, 4, name="last"), x)
    samples = pictures(rng, (1, 4, 6, 6))
    assert {f.rule for f in examine(graph, "naive")} == {"activation of an output"}
    result = quantize_graph(graph, samples, QuantizeConfig())
    assert not [f for f in examine(result.graph, "any") if f.outcome.breaks]
    assert result.graph.node("first").quantized
    assert [node.name for node in result.graph.nodes] == ["first", "gate_reshape", "gate", "last"]


def test_batches_keep_adds_and_small_1x1_in_fp32(build, rng):
    dims = (2, 4, 6, 6)
    net = build(dims)
    x = net.conv("input", 4, 8, name="first")
    y = net.conv(x, 8, 8, kernel=1, name="point")
    graph = net.graph(net.conv(net.add("Add", [x, y], -1, name="sum"), 8, 4, name="last"))
    samples = pictures(rng, dims)
    result = quantize_graph(graph, samples, QuantizeConfig())
    assert {node.name for node in result.graph.nodes if node.quantized} == {"first", "last"}
    reasons = {result.graph.nodes[p].name: reason for p, reason in result.plan.reasons.items()}
    assert "batch" in reasons["sum"]
    assert "batch" in reasons["point"]
    naive = quantize_graph(graph, samples, QuantizeConfig(device="naive"))
    assert {node.name for node in naive.graph.nodes if node.quantized} == {"first", "point", "sum", "last"}


@pytest.mark.parametrize(
    ("rows", "outputs", "int8"), [(1, 30, False), (1, 28, True), (5, 30, False), (5, 13, False), (5, 32, True)]
)
def test_an_inner_product_stays_fp32_where_dot_products_are_wrong(build, rng, rows, outputs, int8):
    net = build((rows, 24))
    graph = net.graph(net.inner_product(net.inner_product("input", 24, outputs), outputs, 8))
    result = quantize_graph(graph, pictures(rng, (rows, 24)), QuantizeConfig())
    assert result.graph.nodes[0].quantized is int8
    assert result.graph.nodes[1].quantized


def test_three_addends_become_two_int8_adds(build, rng):
    net = build((1, 4, 6, 6))
    x, y, z = (net.conv("input", 4, 8, name=name) for name in "abc")
    graph = net.graph(net.conv(net.add("Add", [x, y, z], -1, name="sum"), 8, 4, name="last"))
    samples = pictures(rng, (1, 4, 6, 6))
    result = quantize_graph(graph, samples, QuantizeConfig())
    adds = [node for node in result.graph.nodes if node.layer.TYPE_NAMES[0] == "Add"]
    assert [len(node.inputs) for node in adds] == [2, 2]
    assert all(node.quantized for node in adds)
    assert not [f for f in examine(result.graph, "any") if f.outcome.breaks]
    for sample in samples:
        (name, wanted), = Executor(graph).run(sample.arrays).items()
        error = np.abs(Executor(result.graph).run(sample.arrays)[name] - wanted).max()
        assert error < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("methods", [("asymmetric", "minmax"), ("minmax", "asymmetric"), ("asymmetric", "asymmetric")])
def test_zero_points_are_for_the_naive_device(build, rng, methods):
    graph, samples = border_net(build, 8), pictures(rng, (1, 3, 8, 8))
    config = QuantizeConfig(*methods)
    result = quantize_graph(graph, samples, config)
    assert not [f for f in examine(result.graph, "any") if f.outcome.breaks]
    symmetric = quantize_graph(graph, samples, QuantizeConfig())
    for blob, params in symmetric.graph.scales.items():
        np.testing.assert_array_equal(result.graph.scales[blob].scale, params.scale)
    kept = quantize_graph(graph, samples, QuantizeConfig(*methods, device="naive"))
    assert {f.rule for f in examine(kept.graph, "arm") if f.outcome.breaks} == {"zero point"}


def test_where_no_rule_is_hit_the_bytes_are_those_of_the_naive_device(build, rng, tmp_path):
    graph, samples = border_net(build, 8), pictures(rng, (1, 3, 8, 8))
    written = []
    for device in ("any", "arm", "x86", "naive"):
        paths = tmp_path / f"{device}.tnnproto", tmp_path / f"{device}.tnnmodel"
        write_model(quantize_graph(graph, samples, QuantizeConfig(device=device)).graph, *paths)
        written.append([path.read_bytes() for path in paths])
    assert written[1:] == written[:-1]


def test_a_copy_stands_after_an_average_pooling(build, rng):
    """What ``best`` makes of the blob before is told by the file: no layer between it, the pooling and its shift."""
    net = build((1, 3, 12, 12))
    x = net.add("ReLU", net.conv("input", 3, 10, kernel=1, name="first"))
    gate = net.conv(net.pool(x, 1, kernel=3, stride=1, pad=1), 10, 6, kernel=1, name="gate")
    last = net.conv(net.conv(x, 10, 6, kernel=1, name="point"), 6, 6, kernel=1, name="last")
    graph = net.graph(gate, last)
    samples = pictures(rng, (1, 3, 12, 12), 8)
    result = quantize_graph(graph, samples, QuantizeConfig(exclude=("gate",)))
    assert not [f for f in examine(result.graph, "any") if f.outcome.breaks]
    pool = next(node for node in result.graph.nodes if node.layer.TYPE_NAMES[0] == "Pooling")
    made = result.graph.producers()[pool.inputs[0]]
    assert made.quantized, "the pooling reads what int8 layers make, not a copy"
    assert result.graph.node("gate").inputs[0].endswith("_copy")
    config = QuantizeConfig(recipe="best", exclude=("gate",))
    kept = Kept(Picture(sample.name, sample.arrays) for sample in samples)
    best = with_copies_at_borders(quantize_with(graph, Split(kept), config, Steps(full_range=True)), config)
    assert not [f for f in examine(best.graph, "any") if f.outcome.breaks]
    blob = next(node for node in best.graph.nodes if node.layer.TYPE_NAMES[0] == "Pooling").inputs[0]
    assert (best.zero_codes[blob] == -128).all(), "the case shows nothing"
    assert (meaning_of(best.graph).graph.scales[blob].zero_point == -128).all()


@dataclass
class Picture:
    name: str
    arrays: dict
    fresh: int = 1


class Kept(list):
    """Samples of which none are kept apart."""

    apart = ()
