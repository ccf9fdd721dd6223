"""Two models of one: what may hold int8 layers, and the fp32 rest that a device gets wrong beside them.

A layer that is wrong in any model with an int8 layer, and cannot be written in another way, goes into a second, fp32
model, with all that depends on it. The first one's outputs are the second one's inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from tnnquant.base.tensor import DataType
from tnnquant.devices.findings import shapes_of
from tnnquant.graph import Graph, InputSpec, Node
from tnnquant.layers.base import QuantRole

__all__ = ["after", "has_int8_candidates", "joints", "snippet", "split_graph", "tail_paths"]

_QUANTIZED, _TAIL = "_quantized", "_tail"


def tail_paths(target: tuple[Path, Path]) -> tuple[Path, Path]:
    """Where the second model goes, from where the first one does."""
    proto, model = (path.with_name(path.name.replace(_QUANTIZED, _TAIL)) for path in target)
    return proto, model


def after(graph: Graph, names: Collection[str]) -> list[str]:
    """These layers and all that depend on them, in order."""
    tainted: set[str] = set()
    found = []
    for node in graph.nodes:
        if node.name in names or tainted & set(node.inputs):
            found.append(node.name)
            tainted.update(node.outputs)
    return found


def has_int8_candidates(graph: Graph, tail: Collection[str]) -> bool:
    """Whether a layer with weights is left before the tail."""
    return any(node.name not in tail and node.layer.role == QuantRole.WEIGHTED for node in graph.nodes)


def split_graph(graph: Graph, tail: Collection[str]) -> tuple[Graph, Graph]:
    """The layers that are not in the tail, and those that are, as models of their own.

    Parameters
    ----------
    graph : Graph
    tail : collection of str
        Layers, with all that depend on them (:func:`after`).
    """
    first = [node for node in graph.nodes if node.name not in tail]
    second = [node for node in graph.nodes if node.name in tail]
    made, read = ({blob for node in first for blob in node.outputs}, {blob for node in second for blob in node.inputs})
    outputs = tuple(sorted((made & read) | (made & set(graph.outputs))))
    specs = shapes_of(graph).specs
    inputs = {blob: InputSpec(specs[blob].dims, DataType.FLOAT) for blob in sorted(made & read)}
    inputs |= {blob: spec for blob, spec in graph.inputs.items() if blob in read}
    whole = graph.replace(extra_blobs=frozenset())
    touched = {blob for node in first for blob in (*node.inputs, *node.outputs)}
    body = whole.replace(
        nodes=tuple(first), outputs=outputs, constants=_read(graph, first),
        inputs={name: spec for name, spec in graph.inputs.items() if name in touched},
    )  # fmt: skip
    rest = whole.replace(
        nodes=tuple(second), inputs=dict(sorted(inputs.items())), scales={}, constants=_read(graph, second),
        outputs=tuple(name for name in graph.outputs if name not in made and name not in graph.inputs),
    )  # fmt: skip
    return body, rest


def _read(graph: Graph, nodes: Iterable[Node]) -> Mapping:
    read = {blob for node in nodes for blob in node.inputs}
    return {name: tensor for name, tensor in graph.constants.items() if name in read}


def joints(graph: Graph, tail: Collection[str]) -> list[str]:
    """The blobs that the second model reads from the first."""
    body, rest = split_graph(graph, tail)
    return [name for name in rest.inputs if name in body.outputs]


def snippet(names: Collection[str]) -> list[str]:
    """What an app does between the two models, in C++."""
    listed = ", ".join(f'"{name}"' for name in names)
    return [
        "body->Forward();",
        f"for (const char* name : {{{listed}}}) {{",
        "    std::shared_ptr<tnn::Mat> mat;",
        "    body->GetOutputMat(mat, tnn::MatConvertParam(), name, device, tnn::NCHW_FLOAT);",
        "    tail->SetInputMat(mat, tnn::MatConvertParam(), name);",
        "}",
        "tail->Forward();",
    ]
