"""Blobs are made once, and before they are read."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError
from tnnquant.format.check import check_structure
from tnnquant.graph import Graph, InputSpec, Node
from tnnquant.layers.base import find_layer


def node(name: str, inputs: str, outputs: str) -> Node:
    return Node(name, "Concat", find_layer("Concat")(), tuple(inputs), tuple(outputs))


def graph(*nodes: Node, outputs: str = "y", constants: str = "") -> Graph:
    tensors = {name: Tensor(np.ones(1, np.float32)) for name in constants}
    return Graph({"x": InputSpec((1,))}, tuple(outputs), nodes, tensors)


@pytest.mark.parametrize(
    "good",
    [
        graph(node("a", "x", "y")),
        graph(node("a", "x", "b"), node("b", "b", "b"), node("c", "b", "y")),
        graph(node("a", "x", "x"), node("b", "x", "y")),
        graph(node("a", "xk", "y"), constants="k"),
        graph(node("a", "x", "k"), node("b", "xk", "y"), constants="k"),
        graph(node("a", "x", "ab"), node("b", "ba", "y")),
        graph(outputs="x"),
        graph(outputs="k", constants="k"),
    ],
)
def test_what_fits(good):
    check_structure(good)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (graph(node("a", "xb", "y")), r"^m: layer 'a' \(Concat\) reads blob 'b', which is no model input, no constant"),
        (graph(node("a", "b", "y"), node("b", "x", "b")), r"layer 'a' \(Concat\) reads blob 'b'"),
        (graph(node("a", "y", "y")), r"layer 'a' \(Concat\) reads blob 'y'"),
        (graph(node("a", "x", "y"), node("b", "x", "y")), r"layer 'b' .* makes blob 'y', which layer 'a' \("),
        (graph(node("a", "x", "yy")), r"layer 'a' \(Concat\) makes blob 'y', which itself makes already"),
        (graph(node("a", "x", "y"), node("b", "y", "x")), r"layer 'b' .* makes blob 'x', which the model makes"),
        (graph(node("a", "x", "y"), outputs="yz"), "^m: the model output 'z' is made by no layer$"),
    ],
)
def test_what_does_not(bad, message):
    with pytest.raises(GraphError, match=message):
        check_structure(bad, "m")
