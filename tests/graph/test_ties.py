"""Blobs that must have the same scales."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant.base.tensor import Tensor
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph.infer import infer
from tnnquant.graph.ties import tied_blobs, top_of, who_takes_whose
from tnnquant.quantization.quantize import quantize_graph


def takes(graph, copied=(), follows_peak=True):
    graph = infer(graph).graph
    groups = tied_blobs(graph, range(len(graph.nodes)))
    return who_takes_whose(graph, groups, lambda blob: blob in copied, lambda blob: follows_peak)


def test_chains_are_tied(build):
    net = build()
    a = net.conv("input", 3, 4)
    r = net.add("ReLU", a)
    p = net.pool(r)
    graph = net.graph(p, net.pool(net.conv(a, 4, 4)))
    groups = tied_blobs(graph, range(len(graph.nodes)))
    assert groups[a] == [a, r, p]
    assert top_of(groups)[p] == a
    assert tied_blobs(graph, [0, 1]) == {a: [a, r]}


def test_the_last_gives_its_scales_where_nothing_else_reads_the_others(build):
    net = build()
    a = net.conv("input", 3, 4)
    p = net.pool(r := net.add("ReLU", a))
    assert takes(net.graph(p)) == {a: p, r: p}
    assert takes(net.graph(p, r)) == {p: a, r: a}  # r is a model output
    net.conv(a, 4, 4, name="other")
    assert takes(net.graph(p, "other_out")) == {p: a, r: a}


def test_branches_take_those_of_the_top(build):
    net = build()
    a = net.conv("input", 3, 4)
    r, p = net.add("ReLU", a), net.pool(a)
    assert takes(net.graph(r, p)) == {r: a, p: a}


@pytest.mark.parametrize(
    ("activation", "follows_peak", "gives"), [(0, True, 0), (0, False, 0), (1, True, 0), (1, False, 1)]
)
def test_a_concat_keeps_the_scales_of_its_bytes(build, activation, follows_peak, gives):
    net = build()
    parts = [net.conv("input", 3, 4, activation_type=activation) for _ in range(2)]
    c = net.add("Concat", parts, 1)
    p = net.pool(c)
    assert takes(net.graph(p), (c,), follows_peak) == ({c: p} if gives else {p: c})


def tied_nets(net):
    """Outputs of nets in which negative values of a blob matter although a ReLU or a pooling reads it."""
    a = net.conv("input", 3, 4, bias=False, name="a")
    b = net.conv("input", 3, 4, bias=False, name="b")
    net.nodes = [biased(node, {"a": -1, "b": -4}[node.name]) for node in net.nodes]
    c = net.add("Concat", [a, b], 1, name="cat")
    left = net.conv(net.pool(c, name="pooled"), 8, 3, name="left")
    r = net.add("ReLU", s := net.add("Add", [a, b], name="sum"), name="r")
    return [left, net.add("Sigmoid", net.conv(r, 4, 3, name="right")), net.add("Mul", [s, s], -1), net.pool(s)]


def biased(node, shift):
    tensors = {**node.resource.tensors, "bias": Tensor(np.full(4, shift, np.float32))}
    resource = replace(node.resource, tensors=tensors, extras={**node.resource.extras, "has_bias": True})
    return node.replace(resource=resource, layer=replace(node.layer, bias=1))


@pytest.mark.parametrize("blob_method", ["minmax", "asymmetric"])
def test_values_that_others_need_survive(build, rng, blob_method):
    net = build()
    outputs = tied_nets(net)
    graph = net.graph(*outputs)
    pictures = [rng.standard_normal((1, 3, 12, 10)).astype(np.float32) for _ in range(6)]
    samples = [SimpleNamespace(name=f"s{i}", arrays={"input": x}) for i, x in enumerate(pictures)]
    int8 = Executor(quantize_graph(graph, samples, QuantizeConfig(blob_method=blob_method)).graph)
    fp32 = Executor(graph)
    wanted, got = ([e.run({"input": x}) for x in pictures] for e in (fp32, int8))
    for name in outputs:
        a, b = (np.concatenate([r[name].ravel() for r in runs]).astype(np.float64) for runs in (wanted, got))
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.99, name
