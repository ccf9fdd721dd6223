"""Copies of blobs where int8 and fp32 layers meet in a way that a device cannot stand.

A Reshape to the same dims changes no value. On TNN's ARM device it lays the blob out anew, with zeros beyond its
channels; it stands between an int8 layer and an fp32 activation that TNN would take for a part of it; and after one
the model input is a float blob.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tnnquant.base.names import unused_name
from tnnquant.config import QuantizeConfig
from tnnquant.devices.conditions import Net
from tnnquant.devices.findings import findings, shapes_of
from tnnquant.devices.rules import NAIVE
from tnnquant.engine.executor import Executor
from tnnquant.graph import Graph, Node
from tnnquant.layers.batch_norm import BatchNorm
from tnnquant.layers.pooling import AVERAGE, Pooling
from tnnquant.layers.reshape import Reshape
from tnnquant.quantization.plan import QuantPlan

if TYPE_CHECKING:
    from tnnquant.quantization.quantize import Quantization

__all__ = ["BORDER", "INPUT", "moved", "with_copies_at_borders"]

_SUFFIX = "_copy"
BORDER = "copies an int8 blob for the fp32 layers that read it: the ARM device needs it laid out anew"
INPUT = "copies the model input: the ARM device refuses a deconvolution in a model whose input is int8"


def with_copies_at_borders(result: Quantization, config: QuantizeConfig) -> Quantization:
    """The result with copies of the blobs that need one; the same, if none does.

    The fp32 graph gets the same copies: its layers stay those of the int8 graph, one by one.
    """
    if config.device == NAIVE:
        return result
    graph, reasons, renamed = _with_copies(result.graph, config)
    if graph is result.graph:
        return result
    fp32, executor = result.fp32, result.executor
    # A recipe may have put layers into one of the two alone; none of theirs go back to fp32 one by one.
    if [node.name for node in fp32.nodes] == [node.name for node in result.graph.nodes]:
        fp32 = _same_copies(fp32, graph, list(reasons))
        executor = executor and Executor(fp32, config.input_dims, exact=executor.exact)
    plan = moved(result.plan, result.graph, graph, reasons)
    blobs = {renamed.get(blob, blob): entry for blob, entry in plan.blobs.items()}
    zero = {renamed.get(blob, blob): codes for blob, codes in result.zero_codes.items()}
    unseen = graph if result.unseen is result.graph else result.unseen and _with_copies(result.unseen, config)[0]
    return replace(
        result, graph=graph, fp32=fp32, plan=replace(plan, blobs=blobs), zero_codes=zero, unseen=unseen,
        executor=executor,
    )  # fmt: skip


def moved(plan: QuantPlan, graph: Graph, changed: Graph, reasons: Mapping[str, str] | str) -> QuantPlan:
    """The plan of a graph for the same one with more layers, or without some that are not int8.

    Parameters
    ----------
    plan : QuantPlan
    graph, changed : Graph
        Before and after.
    reasons : str, or mapping of str to str
        Why the new layers are there: of all, or by name.
    """
    at = {node.name: position for position, node in enumerate(changed.nodes)}
    to = {position: at.pop(node.name) for position, node in enumerate(graph.nodes) if node.name in at}
    found = {to[position]: reason for position, reason in plan.reasons.items() if position in to}
    found |= {position: reasons if isinstance(reasons, str) else reasons[name] for name, position in at.items()}
    return replace(plan, int8=frozenset(to[position] for position in plan.int8), reasons=found)


def _with_copies(graph: Graph, config: QuantizeConfig) -> tuple[Graph, dict[str, str], dict[str, str]]:
    """The graph with copies; why, by name of the new layer; the blobs whose scales are now those of another name."""
    inference = shapes_of(graph, config.input_dims)
    found = findings(inference.graph, inference.specs, config.device)
    rules = {finding.rule for finding in found}
    wanted: dict[str, str] = {}
    if "int8 border" in rules:
        net = Net(inference.graph, inference.specs, mixed=True)
        wanted |= {blob: BORDER for source in sorted(net.ragged) for blob in _copied_for(net, source)}
    for finding in found:
        if finding.rule == "fp32 activation after int8":
            wanted[graph.node(finding.layer).inputs[0]] = BORDER
    reasons: dict[str, str] = {}
    for blob, reason in wanted.items():
        graph = _with_copy(graph, blob, len(inference.specs[blob].dims), False, reason, reasons)
    renamed: dict[str, str] = {}
    if "int8 input before a deconvolution" in rules:
        for blob in graph.inputs:
            if any(node.quantized and blob in node.inputs for node in graph.nodes):
                graph = _with_copy(graph, blob, len(inference.specs[blob].dims), True, INPUT, reasons)
                copy = graph.node(next(reversed(reasons))).outputs[0]
                scales = {copy if name == blob else name: params for name, params in graph.scales.items()}
                graph, renamed[blob] = graph.replace(scales=scales), copy
    return graph, reasons, renamed


def _copied_for(net: Net, blob: str) -> list[str]:
    """Where to copy, so that no fp32 convolution reads what lies beyond the channels of an int8 blob: the blob, or, if
    average poolings alone read it in fp32, what they make. Recipes may shift its codes, and the shift is undone right
    after the pooling: nothing stands between, so that the file tells of it.
    """
    readers = [node for node in net.consumers.get(blob, ()) if not node.quantized]
    made = []
    for node in readers:
        if not isinstance(node.layer, Pooling) or node.layer.pool_type != AVERAGE:
            return [blob]
        after = net.consumers.get(node.outputs[0], ())
        is_shift = len(after) == 1 and isinstance(after[0].layer, BatchNorm)
        made.append(after[0].outputs[0] if is_shift else node.outputs[0])
    return [each for each in made if net.reaches_convolution(each)]


def _with_copy(graph: Graph, blob: str, rank: int, to_int8: bool, reason: str, reasons: dict[str, str]) -> Graph:
    """The graph with a copy of a blob that its int8 readers, or its fp32 readers, read instead; before the first."""
    taken = {*graph.blob_names(), *graph.constants, *(node.name for node in graph.nodes)}
    copy = unused_name(blob + _SUFFIX, taken)
    node = Node(copy, Reshape.TYPE_NAMES[0], Reshape(0, rank, (0,) * rank, 0), (blob,), (copy,))
    reasons[copy] = reason
    return _inserted(graph, node, to_int8)


def _inserted(graph: Graph, copy: Node, to_int8: bool) -> Graph:
    blob, name = copy.inputs[0], copy.outputs[0]
    nodes: list[Node] = []
    for node in graph.nodes:
        if blob in node.inputs and node.quantized == to_int8:
            if copy not in nodes:
                nodes.append(copy)
            node = node.replace(inputs=tuple(name if other == blob else other for other in node.inputs))
        nodes.append(node)
    return graph.replace(nodes=tuple(nodes))


def _same_copies(fp32: Graph, int8: Graph, names: list[str]) -> Graph:
    """The fp32 graph with the new layers where they stand in the int8 graph, and read by the same."""
    plain = {node.name: node for node in fp32.nodes}
    copies = {blob: node.inputs[0] for node in int8.nodes if node.name in names for blob in node.outputs}
    nodes = []
    for node in int8.nodes:
        if node.name in names:
            nodes.append(node)
        elif node.name in plain:
            by_source = {source: copy for copy, source in copies.items() if copy in node.inputs}
            other = plain[node.name]
            nodes.append(other.replace(inputs=tuple(by_source.get(blob, blob) for blob in other.inputs)))
    return fp32.replace(nodes=tuple(nodes))
