"""Layers of an int8 pair beside the ONNX model, one by one: a fault in one of them is found and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from tests.onnx.qdq.test_apply import Qdq
from tnnquant.format import write_model
from tnnquant.onnx import convert
from tnnquant.onnx.verify import compare

pytest.importorskip("onnxruntime")


@pytest.fixture(params=[(np.int8, 0), (np.uint8, 100)], ids=["symmetric", "zero points"])
def files(request, rng, tmp_path):
    dtype, zero = request.param
    net = Qdq(rng, (1, 4, 8, 8), dtype)
    x = net.pair("x", 0.02, zero)
    for _ in range(3):
        x = net.pair(net.conv(x, 4, 4, 3, 1), 0.03, zero)
    model = net.model(net.op("Softmax", net.op("GlobalAveragePool", x), axis=1))
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx", (tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")


def test_every_layer_has_the_codes_of_the_file(files):
    source, pair = files
    conversion = convert(source)
    write_model(conversion.graph, *pair)
    comparison = compare(source, pair, conversion)
    assert comparison.agrees, comparison.lines()
    assert comparison.layers >= 3
    assert comparison.codes_differ < 0.01


@pytest.fixture(params=[False, True], ids=["exact", "rescaled"])
def chain(request, rng, tmp_path):
    """Layers that read codes of the file, and depthwise ones that read codes that had to become coarser."""
    net = Qdq(rng, (1, 8, 16, 16), np.uint8)
    x = net.pair("x", 0.02, 128)
    for _ in range(3):
        x = net.pair(net.op("Relu", net.conv(x, 8, 8)), 0.01, 0)
        if request.param:
            x = net.pair(net.op("Relu", net.depthwise(x, 8, 3, 1)), 0.01, 0)
    onnx.save(net.model(x), tmp_path / "net.onnx")
    return tmp_path / "net.onnx", (tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")


def changed(graph, node, name, change):
    """The graph with another tensor in a layer."""
    tensor = node.tensors[name]
    tensors = {**node.tensors, name: replace(tensor, data=change(tensor.data).astype(tensor.data.dtype))}
    new = node.replace(resource=replace(node.resource, tensors=tensors))
    return graph.with_nodes(new if other is node else other for other in graph.nodes)


def test_codes_of_the_file_and_coarser_ones_are_right(chain):
    source, pair = chain
    conversion = convert(source)
    write_model(conversion.graph, *pair)
    comparison = compare(source, pair, conversion)
    assert comparison.agrees, comparison.lines()


@pytest.mark.parametrize("position", [0, 2, -1])
@pytest.mark.parametrize("what", ["scale", "weights", "channels", "bias"])
def test_a_small_fault_is_named(chain, what, position):
    source, pair = chain
    conversion = convert(source)
    graph = conversion.graph
    node = [node for node in graph.nodes if "filter" in node.tensors][position]
    rng = np.random.default_rng(6)
    match what:
        case "scale":
            graph = changed(graph, node, "scale", lambda data: data * np.float32(1.03))
        case "weights":
            graph = changed(
                graph, node, "filter", lambda data: np.clip(data + 30 * (rng.random(data.size) < 0.3), -127, 127)
            )
        case "channels":
            graph = changed(graph, node, "filter", lambda data: np.roll(data.reshape(8, -1), 1, axis=0).reshape(-1))
        case "bias":
            graph = changed(graph, node, "bias", lambda data: data + np.int32(2000))
    write_model(graph, *pair)
    comparison = compare(source, pair, conversion)
    assert not comparison.agrees
    assert comparison.first == node.outputs[0]


def test_two_channels_that_are_exchanged_are_found(rng, tmp_path):
    """In a depthwise layer of many channels that reads coarser codes."""
    net = Qdq(rng, (1, 8, 16, 16), np.uint8)
    x = net.pair(net.op("Relu", net.conv(net.pair("x", 0.02, 128), 8, 128)), 0.01, 0)
    onnx.save(net.model(net.pair(net.op("Relu", net.depthwise(x, 128, 3, 1)), 0.01, 0)), tmp_path / "net.onnx")
    source, pair = tmp_path / "net.onnx", (tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")
    conversion = convert(source)
    graph = conversion.graph
    node = [node for node in graph.nodes if "filter" in node.tensors][1]
    exchanged = [1, 0, *range(2, 128)]
    write_model(changed(graph, node, "filter", lambda data: data.reshape(128, -1)[exchanged].reshape(-1)), *pair)
    comparison = compare(source, pair, conversion)
    assert not comparison.agrees
    assert comparison.first == node.outputs[0]


@pytest.mark.parametrize("what", ["scale", "bias", "filter", "blob"])
def test_a_fault_in_a_layer_is_named(files, what):
    source, pair = files
    conversion = convert(source)
    graph = conversion.graph
    weighted = [node for node in graph.nodes if node.quantized and "filter" in node.tensors]
    node = weighted[1]
    if what == "blob":
        params = graph.scales[node.outputs[0]]
        wrong = replace(params, scale=np.asarray(params.scale * 1.1, np.float32))
        graph = graph.replace(scales={**graph.scales, node.outputs[0]: wrong})
    else:
        tensor = node.tensors[what]
        data = tensor.data * np.float32(1.1) if what == "scale" else -tensor.data
        if what == "bias":
            data = tensor.data + np.int32(2000)
        resource = replace(node.resource, tensors={**node.tensors, what: replace(tensor, data=data)})
        graph = graph.with_nodes(node.replace(resource=resource) if other is node else other for other in graph.nodes)
    write_model(graph, *pair)
    comparison = compare(source, pair, conversion)
    assert not comparison.agrees
    assert comparison.first == node.outputs[0]
