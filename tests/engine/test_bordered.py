"""Copies with a border on their way to int8, in one pass: the same integers as layer by layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.engine.executor import Executor
from tnnquant.graph.copies import Border, border_of, copying_convolution

from .test_executor_i8 import int8_graph

BORDERS = [Border(0, 0, 0, 0), Border(1, 1, 1, 1), Border(0, 1, 0, 1), Border(2, 1, 0, 3), Border(0, 0, 1, 0)]


def copied(build, rng, border, channels=3, batch=1):
    """An int8 convolution of a copy of the input, in fp32, with a bias."""
    net = build((batch, channels, 13, 11))
    copy = net.conv("input", channels, channels, kernel=1, pad=0, groups=channels, name="copy")
    graph = net.graph(net.conv(copy, channels, 8, pad=0, name="a"))
    layer, weight = copying_convolution(channels, border)
    bias = np.float32([-0.7, 0.3, 1.9, 0.1])[:channels]
    tensors = {
        "filter": Tensor(weight.reshape(-1), (), DataType.FLOAT), "bias": Tensor(bias, (), DataType.FLOAT)
    }  # fmt: skip
    nodes = [node.with_tensors(tensors).replace(layer=layer) if node.name == "copy" else node for node in graph.nodes]
    graph, inputs = int8_graph(graph.with_nodes(nodes), rng, None, ("Convolution",))
    back = {node.name: node.replace(quantized=False).with_tensors(tensors) for node in graph.nodes[:1]}
    scales = {blob: params for blob, params in graph.scales.items() if blob != "input"}
    return graph.with_nodes(back.get(node.name, node) for node in graph.nodes).replace(scales=scales), inputs


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("exact", [True, False])
def test_the_integers_are_those_of_the_layers(build, rng, border, exact):
    for channels, batch in ((3, 1), (4, 2), (1, 1)):
        graph, inputs = copied(build, rng, border, channels, batch)
        assert border_of(graph.node("copy")) == border
        executor = Executor(graph, exact=exact)
        assert [len(each.members) for each in executor._bordered] == [2]
        assert sum(step.fused is not None for step in executor.steps) == 2
        seen: dict[str, np.ndarray] = {}
        slow = executor.run(inputs, lambda name, x, seen=seen: seen.update({name: np.array(x)}))["a_out"]
        assert len(np.unique(seen["copy_out_int8_reformat"])) > 40
        for each in (executor, executor.twin()):
            np.testing.assert_array_equal(each.run(inputs)["a_out"], slow)


def test_what_else_is_read_is_made(build, rng):
    graph, inputs = copied(build, rng, BORDERS[1])
    shown = graph.replace(outputs=(*graph.outputs, "copy_out"))
    executor = Executor(shown)
    assert executor._bordered == []
    assert executor.run(inputs)["copy_out"].shape == (1, 3, 15, 13)


def test_what_is_no_copy(build, rng):
    graph, _ = copied(build, rng, BORDERS[2])
    node = graph.node("copy")
    layer, weight = node.layer, node.tensors["filter"].data
    for changed in (2 * weight, weight[::-1].copy() * 0, np.roll(weight, 1) + weight):
        other = node.with_tensors({**node.tensors, "filter": Tensor(changed, (), DataType.FLOAT)})
        assert border_of(other) is None
    assert border_of(node.replace(layer=replace(layer, activation_type=1))) is None
    assert border_of(node.replace(layer=replace(layer, stride_h=2))) is None
    assert border_of(node.replace(layer=replace(layer, pad_h=0))) is None  # cuts off what lies above
    assert border_of(node) == BORDERS[2]
