"""The graph that TNN's runtime executes: fused adds, Reformat layers at the borders of int8."""

import numpy as np
import pytest

from tnnquant.graph import QuantParams
from tnnquant.graph.lower import fuse_adds, insert_reformats, lower


def flagged(graph, *types):
    """The graph with the nodes of these type strings flagged as int8, and a scale for every blob."""
    nodes = [node.replace(quantized=node.type_string in types) for node in graph.nodes]
    one = QuantParams(np.ones(1, np.float32), np.zeros(1, np.int8))
    return graph.with_nodes(nodes).replace(scales=dict.fromkeys(graph.blob_names(), one))


def described(graph):
    return [(type(n.layer).__name__, n.name, " ".join(n.inputs), " ".join(n.outputs)) for n in graph.nodes]


def test_an_fp32_graph_gets_no_borders(build):
    net = build()
    graph = net.graph(net.add("ReLU", net.conv("input", 3, 4, name="c"), name="r"))
    assert described(lower(graph)) == [("Convolution", "c", "input", "r_out")]


def test_borders_are_named_as_in_tnn(build):
    net = build()
    a = net.conv("input", 3, 4, name="a")
    s = net.add("Tanh", a, name="s")
    b = net.conv(s, 4, 4, name="b")
    graph = lower(flagged(net.graph(b, net.add("Tanh", "input", name="t")), "Convolution"))
    assert described(graph) == [
        ("Reformat", "input_int8_reformat__from_model_input__", "input", "input_int8_reformat"),
        ("Convolution", "a", "input_int8_reformat", "a_out"),
        ("Reformat", "a_int8_reformat", "a_out", "a_out_int8_reformat"),
        ("Tanh", "s", "a_out_int8_reformat", "s_out"),
        ("Reformat", "s_int8_reformat", "s_out", "s_out_int8_reformat"),
        ("Convolution", "b", "s_out_int8_reformat", "b_out"),
        ("Tanh", "t", "input", "t_out"),
    ]
    kinds = {n.name: (n.layer.src, n.layer.dst) for n in graph.nodes if type(n.layer).__name__ == "Reformat"}
    assert kinds == {
        "input_int8_reformat__from_model_input__": (0, 2), "a_int8_reformat": (2, 0), "s_int8_reformat": (0, 2),
    }  # fmt: skip
    assert graph.scales["s_out_int8_reformat"] is graph.scales["s_out"]


def test_a_blob_is_converted_once_for_all_its_readers(build):
    net = build()
    a = net.conv("input", 3, 4, name="a")
    tops = [net.add("Tanh", a, name=f"t{i}") for i in range(3)]
    graph = insert_reformats(flagged(net.graph(*tops), "Convolution"))
    assert [n.name for n in graph.nodes] == ["a", "a_int8_reformat", "t0", "t1", "t2"]
    assert {n.inputs for n in graph.nodes[2:]} == {("a_out_int8_reformat",)}


@pytest.mark.parametrize(("activation", "fusion"), [(0, 1), (1, 2)])
def test_a_1x1_convolution_takes_the_add_behind_it(build, activation, fusion):
    net = build((1, 4, 5, 5))
    a = net.conv("input", 4, 4, kernel=1, name="a", activation_type=activation)
    graph = flagged(net.graph(net.add("Add", ["input", a], name="sum")), "Convolution", "Add")
    (node,) = fuse_adds(graph).nodes
    assert (node.inputs, node.outputs) == (("a_out", "input")[1:] * 2, ("sum_out",))
    assert node.layer.fusion == fusion


def test_a_relu_behind_a_fused_add_is_fused_too(build):
    net = build((1, 4, 5, 5))
    a = net.conv("input", 4, 4, kernel=1, name="a")
    top = net.add("ReLU", net.add("Add", [a, "input"], name="sum"), name="r")
    (node,) = lower(flagged(net.graph(top), "Convolution", "Add", "ReLU")).nodes
    assert (node.layer.fusion, node.layer.activation_type, node.outputs) == (1, 1, ("r_out",))


def refused_nets(build):
    net = build((1, 4, 5, 5))
    yield "3x3", net.graph(net.add("Add", [net.conv("input", 4, 4), "input"]))
    net = build((1, 4, 5, 5))
    yield "read later", net.graph(net.add("Add", [a := net.conv("input", 4, 4, kernel=1), "input"]), net.add("Tanh", a))
    net = build((1, 4, 5, 5))
    a = net.conv("input", 4, 4, kernel=1)
    yield "model output", net.graph(net.add("Add", [a, "input"]), a)
    net = build((1, 4, 5, 5))
    a, b = net.conv("input", 4, 4, kernel=1), net.add("Tanh", "input")
    yield "not right after", net.graph(net.add("Add", [a, b]))
    net = build((1, 4, 5, 5))
    a = net.conv("input", 4, 4, kernel=1)
    yield "to itself", net.graph(net.add("Add", [a, a]))
    net = build((1, 4, 5, 5))
    yield "groups", net.graph(net.add("Add", [net.conv("input", 4, 4, kernel=1, groups=2), "input"]))


def test_other_adds_stay(build):
    for name, graph in refused_nets(build):
        quantized = flagged(graph, "Convolution", "Add")
        assert fuse_adds(quantized).nodes == quantized.nodes, name
