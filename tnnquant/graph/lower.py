"""A model as TNN's runtime executes it: its passes at load time, and conversions where int8 and fp32 layers meet.

docs/tnn-format.md, 6.6 and 6.7. The int8 engine follows them because they show in the results: a 1x1 convolution fused
with the add after it rounds once instead of twice.
"""

from __future__ import annotations

from dataclasses import replace

from tnnquant.base.tensor import DataType
from tnnquant.graph import Graph, Node
from tnnquant.graph.passes import fuse_activations, widen_dynamic_range
from tnnquant.layers.base import QuantRole
from tnnquant.layers.concat import Concat
from tnnquant.layers.reformat import Reformat

__all__ = ["REFORMATTED", "lower"]

REFORMATTED = "_int8_reformat"
"""What TNN appends to the name of a blob for its quantized or dequantized copy."""


def lower(graph: Graph) -> Graph:
    """The graph that is executed: fused, and with Reformat layers at the borders of int8."""
    graph = fuse_activations(widen_dynamic_range(graph))
    if not graph.is_quantized:
        return graph
    return insert_reformats(fuse_activations(fuse_adds(graph)))


def fuse_adds(graph: Graph) -> Graph:
    """Fuse an int8 1x1 convolution into the int8 add right after it."""
    last_reader = {blob: position for position, node in enumerate(graph.nodes) for blob in node.inputs}
    result: list[Node] = []
    for position, node in enumerate(graph.nodes):
        previous = graph.nodes[position - 1] if position else None
        if (
            previous is not None
            and result[-1] is previous
            and previous.quantized
            and previous.layer.fuses_add
            and node.quantized
            and node.layer.role == QuantRole.JOIN
            and not isinstance(node.layer, Concat)
            and node.inputs.count(previous.outputs[0]) == 1
            and len(node.inputs) == 2
            and last_reader[previous.outputs[0]] == position
            and previous.outputs[0] not in graph.outputs
        ):
            others = tuple(blob for blob in node.inputs if blob != previous.outputs[0])
            layer = previous.layer.with_add()
            result[-1] = previous.replace(inputs=previous.inputs + others, outputs=node.outputs, layer=layer)
        else:
            result.append(node)
    return graph.with_nodes(result)


def insert_reformats(graph: Graph) -> Graph:
    """Quantize or dequantize a blob once for all readers of the other kind, right after the layer that makes it."""
    result: list[Node] = []
    scales = dict(graph.scales)
    readers = graph.consumers()
    renamed: dict[tuple[str, bool], str] = {}

    def convert(blob: str, name: str, to_int8: bool) -> None:
        copy = blob + REFORMATTED
        source, target = (DataType.FLOAT, DataType.INT8) if to_int8 else (DataType.INT8, DataType.FLOAT)
        layer = Reformat(int(source), int(target))
        result.append(Node(name, Reformat.TYPE_NAMES[0], layer, (blob,), (copy,), quantized=True))
        if to_int8 and blob in scales:
            scales[copy] = scales[blob]
        renamed[blob, to_int8] = copy

    for name in graph.inputs:
        if {node.quantized for node in readers.get(name, [])} == {True, False}:
            convert(name, f"{name}{REFORMATTED}__from_model_input__", True)
    for node in graph.nodes:
        inputs = tuple(renamed.get((blob, node.quantized), blob) for blob in node.inputs)
        result.append(node.replace(inputs=inputs))
        for blob in node.outputs:
            if any(reader.quantized != node.quantized for reader in readers.get(blob, [])):
                convert(blob, node.name + REFORMATTED, not node.quantized)
    return replace(graph.with_nodes(result), scales=scales)
