"""Errors of an int8 model against fp32, cumulative and isolated."""

from dataclasses import replace

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.engine.executor import Executor
from tnnquant.errors import GraphError
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.inputs import InputConfig, Samples, scan
from tnnquant.inspect.advice import advise, cause_of
from tnnquant.inspect.compare import compare_graphs
from tnnquant.inspect.summary import summarize
from tnnquant.layers.int8 import dequantized
from tnnquant.layers.int8 import quantized as to_codes


@pytest.fixture
def samples(inspected, pictures):
    return Samples(scan(pictures), inspected.inputs, InputConfig(mean=(127.5,), scale=(1 / 127.5,)))


def blobs_of(graph, samples):
    """Every blob of every sample, in fp32, the samples after each other."""
    executor, found = Executor(prepare_for_quantization(graph), exact=False), {}
    for sample in samples:
        executor.run(sample.arrays, lambda name, x: found.setdefault(name, []).append(np.array(x, order="C")))
    return {name: np.concatenate(arrays) for name, arrays in found.items()}


def db(reference, other):
    reference = reference.astype(np.float64)
    return 10 * np.log10((reference**2).sum() / ((reference - other) ** 2).sum())


def row_of(errors, name):
    return next(row for row in errors.layers if row.name == name)


def test_the_first_layer_has_the_same_error_both_ways(inspected, quantized, samples):
    errors = compare_graphs(quantized, inspected, samples)
    stem = row_of(errors, "stem")
    assert stem.isolated.sqnr_db == pytest.approx(stem.cumulative.sqnr_db, abs=1e-9)
    assert 20 < stem.isolated.sqnr_db < 60
    assert row_of(errors, "gate").isolated is None
    assert row_of(errors, "gate").cumulative.rmse_steps is None
    assert row_of(errors, "join").weights is None
    assert row_of(errors, "join").activations is row_of(errors, "join").isolated


def test_parts_equal_a_calculation_by_hand(inspected, quantized, samples):
    """``left`` is a 1x1 convolution: a matrix product."""
    errors = compare_graphs(quantized, inspected, samples)
    blobs = blobs_of(inspected, samples)
    x, y = blobs["stem_relu_out"], blobs["left_out"]
    node, original = quantized.node("left"), inspected.node("left").tensors
    source, target = quantized.scales["stem_relu_out"], quantized.scales["left_out"]
    weight, bias = original["filter"].data.reshape(4, 8), original["bias"].data.reshape(1, 4, 1, 1)

    def product(w, b, at):
        return np.einsum("oc,nchw->nohw", w.astype(np.float64), at) + b

    codes = node.tensors["filter"].data.reshape(4, 8).astype(np.float64)
    scale = node.tensors["scale"].data.astype(np.float64)
    real = codes * scale[:, None] / source.scale.astype(np.float64)
    real_bias = (node.tensors["bias"].data * scale).reshape(1, 4, 1, 1)
    row = row_of(errors, "left")
    assert row.weights.sqnr_db == pytest.approx(db(y, product(real, real_bias, x)), abs=1e-3)
    fed = dequantized(to_codes(x, source), source)
    out = dequantized(to_codes(product(weight, bias, fed).astype(np.float32), target), target)
    assert row.activations.sqnr_db == pytest.approx(db(y, out), abs=0.02)
    whole = dequantized(to_codes(product(real, real_bias, fed).astype(np.float32), target), target)
    assert row.isolated.sqnr_db == pytest.approx(db(y, whole), abs=0.02)
    steps = ((y - whole) / target.scale.reshape(1, 4, 1, 1)).astype(np.float64)
    assert row.isolated.rmse_steps == pytest.approx(np.sqrt((steps**2).mean()), rel=0.01)


def test_a_layer_with_a_bad_scale_is_found(inspected, quantized, samples):
    params = quantized.scales["right_out"]
    worse = {**quantized.scales, "right_out": QuantParams(params.scale * 30, params.zero_point)}
    bad = quantized.replace(scales=worse)
    errors = compare_graphs(bad, inspected, samples)
    assert errors.candidates()[0].name == "right"
    assert cause_of(errors.candidates()[0]) == "activations"
    assert [row.name for row in errors.guilty()] == ["right"]
    advice = advise(errors, summarize(bad))
    assert advice.exclude == ["right"]
    assert any("1 layer stands out" in line for line in advice.lines)
    # Everything after it has a large cumulative error, and a small one of its own.
    assert row_of(errors, "fc").cumulative.sqnr_db < row_of(errors, "fc").isolated.sqnr_db - 10


def test_damaged_weights_are_told_from_activations(inspected, quantized, samples):
    node = quantized.node("left")
    tensors = dict(node.resource.tensors)
    tensors["filter"] = replace(tensors["filter"], data=(tensors["filter"].data // 32 * 32).astype(np.int8))
    bad = quantized.replace(nodes=tuple(
        n.replace(resource=replace(n.resource, tensors=tensors)) if n.name == "left" else n for n in quantized.nodes
    ))  # fmt: skip
    errors = compare_graphs(bad, inspected, samples)
    row = row_of(errors, "left")
    assert cause_of(row) == "weights"
    assert row.weights.sqnr_db < row.activations.sqnr_db - 6


def test_an_int8_form_that_goes_wrong_is_neither(inspected, quantized, samples):
    nodes = tuple(
        node.replace(layer=replace(node.layer, activation_type=256)) if node.name == "left" else node
        for node in quantized.nodes
    )
    bad = quantized.replace(nodes=nodes)
    swish = inspected.replace(nodes=tuple(
        node.replace(layer=replace(node.layer, activation_type=256)) if node.name == "left" else node
        for node in inspected.nodes
    ))  # fmt: skip
    errors = compare_graphs(bad, swish, samples)
    assert cause_of(row_of(errors, "left")) == "int8 form"
    advice = advise(errors, summarize(bad))
    assert any("far worse than weights and activations explain (left)" in line for line in advice.lines)
    assert "left" not in advice.exclude


def test_samples_usage_and_dictionary(inspected, quantized, samples):
    errors = compare_graphs(quantized, inspected, samples)
    assert [sample.name for sample in errors.samples] == [f"{i:02}.png" for i in range(6)]
    assert errors.agreement[1] == 6
    usage = errors.usage["left_out"]
    assert usage.high.max() <= 127
    assert usage.low.size == 4
    report = errors.as_dict()
    assert {row["name"] for row in report["layers"]} == {node.name for node in quantized.nodes}
    ranks = sorted(row["rank_isolated"] for row in report["layers"] if row["rank_isolated"])
    assert ranks == list(range(1, 7))


def test_layers_of_dynamic_range(inspected, samples):
    """int8 weights, fp32 arithmetic: all of the error is that of the weights."""
    nodes = []
    for node in prepare_for_quantization(inspected).nodes:
        if node.name == "left":
            weight = node.tensors["filter"].data.reshape(4, -1)
            scale = (np.abs(weight).max(axis=1) / 127).astype(np.float32)
            codes = np.rint(weight / scale[:, None]).astype(np.int8)
            tensors = {"filter": Tensor(codes.reshape(-1), (), DataType.INT8), "scale": Tensor(scale),
                       "bias": node.tensors["bias"]}  # fmt: skip
            kind = "DynamicRangeQuantizedConvolution"
            resource = replace(node.resource, tensors=tensors, type_string=kind)
            node = node.replace(type_string=kind, dynamic_range=True, resource=resource)
        nodes.append(node)
    dynamic = inspected.replace(nodes=tuple(nodes))
    summary = summarize(dynamic)
    assert summary.precision == "dynamic"
    errors = compare_graphs(dynamic, inspected, samples)
    row = row_of(errors, "left")
    assert row.isolated.sqnr_db == pytest.approx(row.cumulative.sqnr_db, abs=1e-3)
    assert 30 < row.weights.sqnr_db == row.isolated.sqnr_db < 60
    assert row.activations is None
    assert cause_of(row) == "weights"
    assert row_of(errors, "stem").isolated is None
    assert advise(errors, summary).exclude == ["left"]


def test_two_networks_that_have_nothing_in_common(build, quantized, samples):
    net = build((1, 3, 16, 12))
    other = net.graph(net.conv("input", 3, 8, name="other"))
    with pytest.raises(GraphError, match="none of the int8 model's blobs"):
        compare_graphs(quantized, other, samples)
