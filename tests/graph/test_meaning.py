"""Models whose files are silent about the codes that mean 0: found out, and compared as what they mean."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph.meaning import meaning_of, zero_points
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.graph.traces import made_up_original
from tnnquant.inputs.split import Split
from tnnquant.inspect.compare import compare_graphs
from tnnquant.recipes.best.workbench import Steps, quantize_with


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
    """A ReLU before max pooling, one before a concat that is not pooled, a ReLU6, one (point) whose reader pads and
    which has guards, one (last) before average pooling."""
    net = build()
    stem = net.conv("input", 3, 8, kernel=3, pad=0, name="stem", activation_type=1)
    pooled = net.pool(stem, name="pool")
    point = net.conv(pooled, 8, 16, kernel=1, name="point", activation_type=1)
    padded = net.conv(point, 16, 8, name="padded", activation_type=1)
    six = net.conv(padded, 8, 8, kernel=1, name="six", activation_type=2)
    plain = net.conv(padded, 8, 4, kernel=1, name="plain")
    joined = net.add("Concat", [six, plain], 1, name="joined")
    last = net.conv(joined, 12, 5, kernel=1, name="last", activation_type=1)
    return net.graph(net.pool(last, 1, name="mean"))


@pytest.fixture
def made(build, rng):
    graph, data = net(build), samples(rng)
    return graph, quantize_with(graph, Split(data), QuantizeConfig(recipe="best"), Steps(full_range=True)), data


def test_the_codes_are_those_the_recipe_chose(made):
    graph, result, _ = made
    found = zero_points(result.graph, prepare_for_quantization(graph))
    assert {blob for blob, codes in found.items() if codes.any()} == set(result.zero_codes)
    assert set(result.zero_codes) == {
        "stem_out",
        "pool_out",
        "padded_out",
        "six_out",
        "joined_out",
        "point_out",
        "last_out",
    }
    for blob, codes in result.zero_codes.items():
        np.testing.assert_array_equal(np.broadcast_to(codes, found[blob].shape), found[blob], err_msg=blob)
    assert found["stem_out"][0] == -127
    assert found["six_out"][0] == -128


def test_errors_are_those_of_what_the_codes_mean(made):
    graph, result, data = made
    errors = compare_graphs(result.graph, graph, data)
    assert {row.name for row in errors.layers if row.isolated} == {
        node.name for node in result.graph.nodes if node.quantized
    }
    for row in errors.layers:
        if not row.isolated:
            continue
        assert row.isolated.sqnr_db > 20, row.name  # some inputs were held out: their peaks are cut off
        assert row.cumulative.sqnr_db > 18, row.name
        if row.weights:
            assert row.weights.sqnr_db > 30, row.name


def test_other_models_stay_as_they_are(build, rng):
    graph = net(build)
    result = quantize_with(graph, Split(samples(rng)), QuantizeConfig(recipe="best"), Steps(balance=True))
    assert meaning_of(result.graph, prepare_for_quantization(graph)).graph is result.graph


def test_shifted_copies_are_taken_out(build, rng):
    net = build()
    swished = net.add("Swish", [net.conv("input", 3, 8, name="a")], name="act")
    graph, data = net.graph(net.conv(swished, 8, 8, pad=2, name="b")), samples(rng)
    steps = Steps(full_range=True, rounding=True, bias=True)
    result = quantize_with(graph, Split(data), QuantizeConfig(recipe="best"), steps)
    assert "act_out_copy" in result.zero_codes
    meant = meaning_of(result.graph, prepare_for_quantization(graph)).graph
    assert [node.name for node in meant.nodes] == ["a", "act", "b"]
    assert (meant.node("b").inputs, meant.node("b").layer.pad_h) == (("act_out",), 2)
    np.testing.assert_array_equal(meant.scales["act_out"].zero_point, result.zero_codes["act_out_copy"])
    for sample in data:
        (one,), (other,) = (Executor(g).run(sample.arrays).values() for g in (result.graph, meant))
        np.testing.assert_allclose(one, other, atol=1.01 * float(result.graph.scales["b_out"].scale.max()))
    errors = compare_graphs(result.graph, graph, data)
    assert {row.name for row in errors.layers if row.isolated} == {"a", "b"}
    assert min(row.isolated.sqnr_db for row in errors.layers if row.isolated) > 25


def test_the_file_alone_tells_the_same(made):
    graph, result, _ = made
    alone, beside = meaning_of(result.graph), meaning_of(result.graph, prepare_for_quantization(graph))
    known = meaning_of(result.graph, prepare_for_quantization(graph), result.zero_codes)
    for other in (beside, known):
        assert [(t.kind, t.name, t.why) for t in alone.taken_out] == [(t.kind, t.name, t.why) for t in other.taken_out]
        assert alone.graph.scales.keys() == other.graph.scales.keys()
        for blob, params in alone.graph.scales.items():
            np.testing.assert_array_equal(params.scale, other.graph.scales[blob].scale, err_msg=blob)
            np.testing.assert_array_equal(params.zero_point, other.graph.scales[blob].zero_point, err_msg=blob)
        for mine, theirs in zip(alone.graph.nodes, other.graph.nodes, strict=True):
            assert mine.tensors.keys() == theirs.tensors.keys()
            for key, tensor in mine.tensors.items():
                np.testing.assert_array_equal(tensor.data, theirs.tensors[key].data, err_msg=f"{mine.name} {key}")
    assert {entry.kind for entry in alone.taken_out} == {"guards", "shift"}


def test_a_file_without_traces_means_what_it_says(build, rng):
    graph = net(build)
    half = quantize_with(graph, Split(samples(rng)), QuantizeConfig(recipe="best"), Steps(balance=True)).graph
    assert made_up_original(half) is None
    assert meaning_of(half).is_as_stored
    assert meaning_of(graph).is_as_stored


def test_an_fp32_layer_whose_codes_are_shifted(build, rng):
    net = build()
    a = net.conv("input", 3, 8, name="a", activation_type=1)
    graph, data = net.graph(net.conv(a, 8, 8, name="b")), samples(rng)
    steps = Steps(full_range=True, rounding=True, bias=True)
    result = quantize_with(graph, Split(data), QuantizeConfig(recipe="best", exclude=("a",)), steps)
    assert set(result.zero_codes) == {"a_out"}
    for meaning in (meaning_of(result.graph), meaning_of(result.graph, prepare_for_quantization(graph))):
        assert meaning.shifted_floats == {"a_out"}
        restored, original = meaning.graph.node("a"), graph.node("a")
        assert (restored.layer.output_channel, restored.layer.activation_type) == (8, 1)
        for key, tensor in original.tensors.items():
            np.testing.assert_allclose(restored.tensors[key].data, tensor.data, atol=1e-4)
    errors = compare_graphs(result.graph, graph, data)
    found = {row.name: row.cumulative.sqnr_db for row in errors.layers}
    assert min(found.values()) > 25  # of the codes, not of the values with the shift in them
    assert (errors.usage["a_out"].zero > 0.2).all()
    assert (errors.usage["a_out"].saturated < 0.02).all()


def test_a_damaged_file_means_what_it_says(made):
    _, result, _ = made
    for name in ("padded", "last"):
        for key in ("scale", "filter", "bias"):
            nodes = []
            for node in result.graph.nodes:
                if node.name == name:
                    tensors = {other: tensor for other, tensor in node.tensors.items() if other != key}
                    node = node.replace(resource=replace(node.resource, tensors=tensors))
                nodes.append(node)
            meaning_of(result.graph.with_nodes(nodes))  # no error: who checks or runs it says what is wrong
