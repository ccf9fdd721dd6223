"""What every layer is in the file, what ``quantize`` makes of it, and why; where a file breaks TNN's int8 rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tnnquant.config import MergeType, QuantizeConfig
from tnnquant.errors import TnnQuantError
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import infer
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.layers.base import QuantRole
from tnnquant.quantization.plan import make_plan

__all__ = ["Precision", "as_fp32", "explain", "is_asymmetric", "merge_type_of", "stored_precision"]

FUSED = "becomes part of "
KEPT = "could be int8; it was kept in fp32 when the model was quantized"


@dataclass(frozen=True)
class Precision:
    """Of one layer.

    Attributes
    ----------
    stored : {"fp32", "int8", "dynamic"}
        In the file; ``dynamic``: int8 weights that are widened on loading.
    planned : {"fp32", "int8"}
        What ``quantize`` makes of it; of an int8 file, what it would have made.
    reason : str
        Why it is or stays fp32, or into which layer it is fused; empty for int8.
    problem : str
        The layer is int8 in the file although TNN then computes garbage or crashes; empty otherwise.
    """

    stored: str
    planned: str
    reason: str = ""
    problem: str = ""


def explain(graph: Graph, input_dims: Mapping | None = None) -> dict[str, Precision]:
    """The precision of every layer, by layer name.

    Raises
    ------
    TnnQuantError
        The layers do not fit together.
    """
    if graph.is_quantized:
        return _explain_quantized(graph, input_dims)
    prepared = prepare_for_quantization(graph)
    inference = infer(prepared, input_dims)
    plan = make_plan(inference, QuantizeConfig())
    verdicts = {}
    for position, node in enumerate(inference.graph.nodes):
        planned = "int8" if position in plan.int8 else "fp32"
        verdicts[node.name] = Precision(stored_precision(node), planned, plan.reasons.get(position) or _stuck(node))
    makers, readers = prepared.producers(), graph.consumers()
    for node in graph.nodes:
        host = (verdicts.get(node.name) and node) or _host(node, verdicts, makers, readers)
        if host is not node:
            planned = verdicts[host.name].planned if host else "fp32"
            reason = FUSED + host.name if host else "dropped before quantization"
            verdicts[node.name] = Precision(stored_precision(node), planned, reason)
        else:
            verdicts[node.name] = replace(verdicts[node.name], stored=stored_precision(node))
    return verdicts


def _stuck(node: Node) -> str:
    if node.layer.runnable():
        return ""
    return f"cannot be run: {node.layer.WHY_NOT or 'tnnquant has no kernel for it'}"


def _host(node: Node, verdicts: Mapping, makers: Mapping[str, Node], readers: Mapping[str, list[Node]]) -> Node | None:
    """The layer that a fused layer became part of: the one that now makes its output, or else its reader."""
    for blob in node.outputs:
        if blob in makers:
            return makers[blob]
    later = [reader for blob in node.outputs for reader in readers.get(blob, []) if reader.name in verdicts]
    return later[0] if later else None


def _explain_quantized(graph: Graph, input_dims: Mapping | None) -> dict[str, Precision]:
    """The plan of the same layers, as if they were fp32, beside what the file says."""
    method = "asymmetric" if is_asymmetric(graph) else "minmax"
    # Of any origin: what devices make of it is another matter (tnnquant.devices.examine).
    config = QuantizeConfig(blob_method=method, merge_type=merge_type_of(graph), device="naive")
    plan = make_plan(infer(as_fp32(graph), input_dims), config)
    verdicts, makers = {}, graph.producers()
    for position, node in enumerate(graph.nodes):
        reason = plan.reasons.get(position, "")
        planned = "int8" if position in plan.int8 else "fp32"
        if node.quantized:
            missing = [blob for blob in (*node.inputs, *node.outputs) if blob not in graph.scales]
            problem = f"blob {missing[0]} has no scale in the file" if missing else reason
            if node.layer.role == QuantRole.PASS and not missing and _is_quantized(makers.get(node.inputs[0])):
                problem = ""  # The plan has its producer in fp32; that it is int8 in the file is all that matters.
            verdicts[node.name] = Precision("int8", planned, "", problem)
        else:
            verdicts[node.name] = Precision(stored_precision(node), planned, reason or _stuck(node) or KEPT)
    return verdicts


def _is_quantized(node: Node | None) -> bool:
    return node is not None and node.quantized


def as_fp32(graph: Graph) -> Graph:
    """The structure of a graph without its int8 flags: shapes follow from it, but it cannot be run."""
    return graph.replace(nodes=tuple(
        node.replace(quantized=False, type_string=node.layer.TYPE_NAMES[0]) if node.quantized else node
        for node in graph.nodes
    ))  # fmt: skip


def stored_precision(node: Node) -> str:
    """What a layer is in the file."""
    if node.quantized:
        return "int8"
    return "dynamic" if node.dynamic_range else "fp32"


def merge_type_of(graph: Graph) -> str:
    """The merge type that an int8 graph was made with, as far as its scales tell."""
    if any(params.scale.size > 1 for params in graph.scales.values()):
        return MergeType.CHANNEL
    sizes = [node.tensors["scale"].size for node in graph.nodes if node.quantized and "scale" in node.tensors]
    return MergeType.MIX if any(size > 1 for size in sizes) else MergeType.TENSOR


def is_asymmetric(graph: Graph) -> bool:
    """Whether any blob of an int8 graph has a zero point other than 0."""
    return any(params.zero_point.any() for params in graph.scales.values())


def try_explain(graph: Graph, input_dims: Mapping | None = None) -> tuple[dict[str, Precision], str]:
    """:func:`explain`, or what is stored alone and the error, for a model that cannot be planned."""
    try:
        return explain(graph, input_dims), ""
    except TnnQuantError as error:
        return {node.name: Precision(stored_precision(node), "fp32", _stuck(node)) for node in graph.nodes}, str(error)
