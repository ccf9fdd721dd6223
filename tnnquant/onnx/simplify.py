"""Passes over the converted graph: what nothing reads goes, and what TNN has a better layer for becomes that layer."""

from __future__ import annotations

from tnnquant.graph import Graph

__all__ = ["simplify"]


def simplify(graph: Graph, *, half: bool = False) -> Graph:
    """The graph after all passes; the outputs stay what they are."""
    graph = without_unread(graph)
    return graph


def without_unread(graph: Graph) -> Graph:
    """Without layers and constants on which no model output depends."""
    read = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if any(blob in read for blob in node.outputs):
            kept.append(node)
            read.update(node.inputs)
    constants = {name: tensor for name, tensor in graph.constants.items() if name in read}
    return Graph(graph.inputs, graph.outputs, tuple(reversed(kept)), constants, graph.scales)
