"""A converted graph with the notes of :mod:`tnnquant.onnx.qdq.record`, as an int8 model with those scales and codes.

TNN's devices know symmetric codes alone. Zero points other than 0 are therefore made up for, blob by blob
(:mod:`tnnquant.onnx.qdq.symmetric`). Layers whose weights, inputs or outputs have no codes stay fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import infer
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.layers.pad import Pad, PadV2
from tnnquant.layers.permute import Permute
from tnnquant.layers.reshape import Flatten, Reshape
from tnnquant.layers.squeeze import Squeeze, Unsqueeze
from tnnquant.onnx.qdq.record import BlobCodes, Records, WeightCodes
from tnnquant.onnx.qdq.rounding import with_rounding
from tnnquant.onnx.qdq.symmetric import Symmetric, symmetric

__all__ = ["Applied", "apply_codes"]

_NONE = BlobCodes(np.zeros(0, np.float32), np.zeros(0, np.int64))
_LIMIT = np.iinfo(np.int32)


@dataclass(frozen=True, eq=False)
class Applied:
    """The int8 graph and what was done.

    Attributes
    ----------
    graph : Graph
    int8 : list of str
        The layers that are int8.
    kept : dict of str to str
        Layers that stay fp32 although the file has codes around them, and why.
    rescaled, shifted : list of str
        Blobs whose zero point was not 0: coarser symmetric codes; all 256 codes in a file with zero point 0.
    rounded : list of str
        Blobs between fp32 layers that are rounded as the file says, by an int8 layer that changes nothing else.
    """

    graph: Graph
    int8: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    rescaled: list[str] = field(default_factory=list)
    shifted: list[str] = field(default_factory=list)
    rounded: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """For the user."""
        if not self.int8 and not self.kept:
            return []
        lines = [f"{len(self.int8)} of {len(self.graph.nodes)} layers are int8 with the scales and weights of the file"]
        if self.shifted:
            lines.append(f"{_named(self.shifted)}: all 256 codes, in a file whose zero points are 0")
        if self.rescaled:
            lines.append(
                f"{_named(self.rescaled)}: zero points other than 0, which TNN's devices do not have; rescaled to "
                "symmetric codes, which are coarser"
            )
        if self.rounded:
            lines.append(f"{_named(self.rounded)}: rounded to int8 between fp32 layers, as in the file")
        reasons: dict[str, list[str]] = {}
        for name, reason in self.kept.items():
            reasons.setdefault(reason, []).append(name)
        return lines + [f"{_named(names)} kept in fp32: {reason}" for reason, names in reasons.items()]


def _named(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def apply_codes(graph: Graph, records: Records) -> Applied:
    """The graph with int8 layers where the notes allow it; the graph itself where there are none.

    Parameters
    ----------
    graph : Graph
        In fp32, with a note on each blob that has codes.
    records : Records
    """
    if not records.blobs or not records.weights:
        return Applied(graph)
    graph = prepare_for_quantization(_activations_first(graph))
    inference = infer(graph)
    graph = inference.graph
    codes = _passed_on(graph, {blob: records.blobs[blob] for blob in inference.specs if blob in records.blobs})
    plan = _Plan(graph, inference.specs, codes, records)
    if not plan.int8:
        return Applied(graph, kept=plan.kept)
    chosen = symmetric(graph, inference, codes, plan.int8)
    nodes = [
        _quantized(node, plan.weights.get(node.name), chosen) if node.name in plan.int8 else node
        for node in graph.nodes
    ]
    nodes, rounded = with_rounding(graph, nodes, inference.specs, codes, chosen.scales)
    touched = {blob for node in nodes if node.quantized for blob in (*node.inputs, *node.outputs)}
    scales = {blob: params for blob, params in chosen.scales.items() if blob in touched}
    made = chosen.finished(graph.with_nodes(nodes).replace(scales=scales))
    rescaled = [blob for blob in chosen.rescaled if blob in touched and blob not in rounded]
    shifted = [blob for blob in chosen.shifted if blob in touched]
    return Applied(made, sorted(plan.int8), plan.kept, rescaled, shifted, rounded)


def _activations_first(graph: Graph) -> Graph:
    """Each ReLU right behind the layer that makes its input: TNN fuses neighbours only."""
    waiting: dict[str, list[Node]] = {}
    makers = graph.producers()
    for node in graph.nodes:
        if node.layer.FUSED_CODE and len(node.inputs) == 1 and node.inputs[0] in makers:
            waiting.setdefault(node.inputs[0], []).append(node)
    placed = {id(node) for nodes in waiting.values() for node in nodes}
    nodes: list[Node] = []

    def place(node: Node) -> None:
        nodes.append(node)
        for blob in node.outputs:
            for activation in waiting.get(blob, ()):
                place(activation)

    for node in graph.nodes:
        if id(node) not in placed:
            place(node)
    return graph.with_nodes(nodes)


def _passes(node: Node) -> bool:
    layer = node.layer
    if len(node.inputs) != 1 or len(node.outputs) != 1:
        return False
    is_border = isinstance(layer, Pad | PadV2) and (layer.mode, layer.value) == (0, 0)
    is_shape = isinstance(layer, Reshape | Flatten | Permute | Squeeze | Unsqueeze)
    return layer.role == QuantRole.PASS or is_border or is_shape


def _passed_on(graph: Graph, codes: dict[str, BlobCodes]) -> dict[str, BlobCodes]:
    """Notes on both sides of layers that pass codes on: a maximum, a ReLU, another shape, a border of zeros."""
    for nodes in (graph.nodes, graph.nodes[::-1]):
        for node in nodes:
            if _passes(node):
                source, target = node.inputs[0], node.outputs[0]
                if node.layer.role != QuantRole.PASS and codes.get(source, codes.get(target, _NONE)).scale.size > 1:
                    continue  # channels may lie elsewhere
                if source in codes and target not in codes:
                    codes[target] = codes[source]
                elif target in codes and source not in codes and len(graph.consumers()[source]) == 1:
                    codes[source] = codes[target]
    return codes


class _Plan:
    """Which layers become int8."""

    def __init__(
        self, graph: Graph, specs: Mapping[str, BlobSpec], codes: Mapping[str, BlobCodes], records: Records
    ):
        self.int8: set[str] = set()
        self.kept: dict[str, str] = {}
        self.weights: dict[str, WeightCodes] = {}
        self._specs, self._codes, self._records = specs, codes, records
        made: set[str] = set()
        for node in graph.nodes:
            if node.layer.role == QuantRole.NONE:
                continue
            why = self._why_not(node, made)
            if why is None:
                self.int8.add(node.name)
                made.update(node.outputs)
            elif why:
                self.kept[node.name] = why

    def _why_not(self, node: Node, made: set[str]) -> str | None:
        """Why a layer stays fp32; empty: the file does not say otherwise; None: it becomes int8."""
        codes, layer = self._codes, node.layer
        without = [blob for blob in (*node.inputs, *node.outputs) if blob not in codes]
        if layer.role == QuantRole.WEIGHTED:
            values = node.tensors.get("filter", node.tensors.get("weight"))
            record = None if values is None else self._records.weights.get(Records.key(values.float32()))
            if record is None:
                return "its weights have no codes of 8 bits" if not without else ""
            if without:
                return f"{without[0]!r} has no scale in the file"
            if record.zero.any():
                return "its weights have a zero point other than 0"
            if codes[node.inputs[0]].scale.size > 1 and not self._is_depthwise(node):
                return "its input has one scale a channel, which its weights would have to hold"
            self.weights[node.name] = record
        elif without:
            return ""
        elif layer.role == QuantRole.PASS:
            if node.inputs[0] not in made:
                return ""
            if not codes[node.inputs[0]].same(codes[node.outputs[0]]):
                return "its output has another scale than its input"
        elif any(codes[blob].scale.size > 1 for blob in (*node.inputs, *node.outputs)):
            return "it joins blobs with one scale a channel"
        return layer.why_not_int8([self._specs[blob] for blob in node.inputs], node.tensors)

    def _is_depthwise(self, node: Node) -> bool:
        group = getattr(node.layer, "group", 1)
        return group > 1 and group == self._specs[node.inputs[0]].dims[1] == getattr(node.layer, "output_channel", 0)


def _quantized(node: Node, weights: WeightCodes | None, chosen: Symmetric) -> Node:
    if weights is None:
        return node.replace(quantized=True)
    name = "filter" if "filter" in node.tensors else "weight"
    source, (out,) = chosen.scales[node.inputs[0]].scale, node.outputs
    count = getattr(node.layer, "output_channel", 0) or node.layer.num_output  # type: ignore[attr-defined]
    # As onnxruntime multiplies: in float32.
    step = np.broadcast_to((weights.scale * source).astype(np.float32), count)
    bias = node.tensors.get("bias")
    values = bias.float32().astype(np.float64) if bias is not None and bias.size else np.zeros(count)
    stored = np.rint(values / step) + chosen.bias_shift(node, weights.codes, step)
    tensors = {
        **node.tensors,
        name: Tensor(weights.codes, (), DataType.INT8),
        "scale": Tensor(np.ascontiguousarray(step), (), DataType.FLOAT),
        "zero_point": Tensor(np.zeros(step.size, np.int8), (), DataType.INT8),
        "bias": Tensor(np.clip(stored, _LIMIT.min, _LIMIT.max).astype(np.int32), (), DataType.INT32),
    }
    extras = {**node.resource.extras, "has_bias": 1} if node.resource else {}
    resource = replace(node.resource, tensors=tensors, extras=extras) if node.resource else None
    layer = chosen.layer(node)
    for flag in ("bias", "has_bias"):
        if hasattr(layer, flag):
            layer = replace(layer, **{flag: 1})
    return node.replace(layer=layer, resource=resource, quantized=True, outputs=(out,))

