"""Decide before any picture is read which layers become int8, and how each blob is observed.

The rules are TNN's (reference, 7.4, 7.7, 7.8), restricted to what its runtime computes correctly (7.11): a layer its
tool would flag although the int8 model then crashes or gives garbage stays fp32, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tnnquant.config import MergeType, QuantizeConfig
from tnnquant.graph import Graph, Node
from tnnquant.infer import Inference
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.patterns import match_layers
from tnnquant.tensor import DataType

__all__ = ["BlobPlan", "QuantPlan", "make_plan"]

RELU6 = 2


@dataclass(frozen=True)
class BlobPlan:
    """How one blob is observed.

    Attributes
    ----------
    method : str
        Name of the observer that is really used.
    slots : int
        Scales of the blob: 1 or its channels.
    dims : tuple of int
    parts : tuple of str
        A concat of blobs that are observed themselves, channel by channel in the same way, has their scales side by
        side: it need not be observed. Empty for any other blob.
    """

    method: str
    slots: int
    dims: tuple[int, ...]
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuantPlan:
    """What will be quantized.

    Attributes
    ----------
    int8 : frozenset of int
        Positions of the nodes that become int8.
    reasons : dict of int to str
        Why each other node stays fp32, by position.
    blobs : dict of str to BlobPlan
        The int8 blobs.
    takes_scale_of : dict of str to str
        Blobs that take the finished scales of another: the input of a ReLU or max pooling that of its output.
    """

    int8: frozenset[int]
    reasons: Mapping[int, str]
    blobs: Mapping[str, BlobPlan]
    takes_scale_of: Mapping[str, str]

    def observed(self) -> list[str]:
        """The blobs whose statistics are needed: not those that take the scales of others, nor sums of parts."""
        needed: dict[str, None] = {}

        def need(blob: str) -> None:
            if self.blobs[blob].parts:
                for part in self.blobs[blob].parts:
                    need(part)
            else:
                needed[blob] = None

        for blob in self.blobs:
            need(self.takes_scale_of.get(blob, blob))
        return list(needed)


def make_plan(inference: Inference, config: QuantizeConfig, fused: Mapping[str, str] | None = None) -> QuantPlan:
    """Choose the int8 layers and the observer of every int8 blob.

    Parameters
    ----------
    inference : Inference
        Of the graph after :func:`tnnquant.passes.prepare_for_quantization`.
    config : QuantizeConfig
    fused : mapping of str to str, optional
        Layers that these passes made part of another, with that one's name; the patterns of ``exclude`` and ``include``
        may name them.

    Raises
    ------
    ConfigError
        A pattern that matches no layer.
    """
    graph, specs = inference.graph, inference.specs
    barred = _barred(graph, config, fused)
    merged = _per_tensor_blobs(graph, config)

    def slots(blob: str) -> int:
        dims = specs[blob].dims
        return 1 if blob in merged or len(dims) < 2 else dims[1]

    reasons: dict[int, str] = {}
    int8: set[int] = set()
    for position in range(len(graph.nodes)):
        reason = _why_fp32(position, inference, slots, int8, barred)
        if reason:
            reasons[position] = reason
        else:
            int8.add(position)
    if barred:
        _drop_lonely_joins(graph, int8, reasons)
    takes = _merge_pass_through(inference, int8, reasons, config, barred)
    touched = dict.fromkeys(b for p in sorted(int8) for b in (*graph.nodes[p].inputs, *graph.nodes[p].outputs))
    blobs = {blob: BlobPlan(_method(blob, inference, config), slots(blob), specs[blob].dims) for blob in touched}
    for position in sorted(int8):
        node = graph.nodes[position]
        if _is_sum_of_parts(node, blobs):
            blobs[node.outputs[0]] = replace(blobs[node.outputs[0]], parts=node.inputs)
    return QuantPlan(frozenset(int8), reasons, blobs, takes)


def _barred(graph: Graph, config: QuantizeConfig, fused: Mapping[str, str] | None) -> dict[int, str]:
    """Why layers stay fp32 because the user says so, by position."""
    excluded = match_layers(graph, config.exclude, "--exclude", fused)
    barred = {position: f"excluded by --exclude {pattern}" for position, pattern in excluded.items()}
    if config.include:
        included = match_layers(graph, config.include, "--include", fused)
        left_out = set(range(len(graph.nodes))) - set(included) - set(barred)
        barred |= dict.fromkeys(left_out, "not among --include")
    return barred


def _drop_lonely_joins(graph: Graph, int8: set[int], reasons: dict[int, str]) -> None:
    """An add or concat that touches fp32 layers alone would only cost conversions: it stays fp32 too."""
    touched = dict.fromkeys(
        blob
        for position in int8
        if graph.nodes[position].layer.role == QuantRole.WEIGHTED
        for blob in (*graph.nodes[position].inputs, *graph.nodes[position].outputs)
    )
    joins = [position for position in sorted(int8) if graph.nodes[position].layer.role == QuantRole.JOIN]
    # Joins beside joins: those that lie behind or before an int8 layer stay, and so do their neighbours.
    found = True
    while found:
        found = False
        for position in joins:
            blobs = (*graph.nodes[position].inputs, *graph.nodes[position].outputs)
            if any(blob in touched for blob in blobs) and not all(blob in touched for blob in blobs):
                touched |= dict.fromkeys(blobs)
                found = True
    for position in joins:
        if not any(blob in touched for blob in graph.nodes[position].outputs + graph.nodes[position].inputs):
            int8.remove(position)
            reasons[position] = "between fp32 layers"


def _is_sum_of_parts(node: Node, blobs: Mapping[str, BlobPlan]) -> bool:
    """Whether the output's scales are the inputs' side by side: a concat of channels, one scale each, one method."""
    if not node.layer.JOINS_CHANNELS or node.layer.axis != 1:
        return False
    whole, parts = blobs[node.outputs[0]], [blobs[blob] for blob in node.inputs]
    return whole.slots == whole.dims[1] and all(
        part.slots == part.dims[1] and part.method == whole.method for part in parts
    )


def _per_tensor_blobs(graph: Graph, config: QuantizeConfig) -> frozenset[str]:
    """Blobs with one scale: all but under merge type 0, and always those an inner product touches (7.4, 4)."""
    if config.merge_type != MergeType.CHANNEL:
        return graph.blob_names() | frozenset(graph.inputs)
    return frozenset(
        blob for node in graph.nodes if node.layer.PER_TENSOR_BLOBS for blob in (*node.inputs, *node.outputs)
    )


def _method(blob: str, inference: Inference, config: QuantizeConfig) -> str:
    from tnnquant.observers import choose_method

    method = choose_method(
        config.blob_method, inference.specs[blob].dims, is_network_input=blob in inference.graph.inputs
    )
    producer = inference.graph.producers().get(blob)
    if method == "asymmetric" and producer and getattr(producer.layer, "activation_type", 0) == RELU6:
        return "minmax"  # TNN's int8 ReLU6 drops the output's zero point (7.11, 10): it must be 0
    return method


def _why_fp32(
    position: int, inference: Inference, slots, int8: set[int], barred: Mapping[int, str]
) -> str | None:
    """The reason why a node cannot be int8 on its own account, or None. Layers of role PASS are settled later."""
    node, specs = inference.graph.nodes[position], inference.specs
    if position in inference.folded:
        return "constant: computed once, not at run time"
    if position in barred:
        return barred[position]
    role = node.layer.role
    if role in (QuantRole.NONE, QuantRole.PASS):
        return "TNN has no int8 form of it that the calibration tool may use"
    blobs = (*node.inputs, *node.outputs)
    constant = [b for b in blobs if specs[b].value is not None]
    if constant:
        return f"reads the constant {constant[0]}; TNN's int8 layers take no constant operands"
    other = [b for b in blobs if specs[b].dtype != DataType.FLOAT]
    if other:
        return f"blob {other[0]} is {specs[other[0]].dtype.name}, not FLOAT"
    if role == QuantRole.WEIGHTED:
        return node.layer.why_not_int8([specs[b] for b in node.inputs], node.tensors)
    if node.resource is not None:
        return "an operand lies in the model file; TNN's int8 form takes blobs only"
    return _why_join_fp32(position, inference, slots, int8)


def _why_join_fp32(position: int, inference: Inference, slots, int8: set[int]) -> str | None:
    node, specs = inference.graph.nodes[position], inference.specs
    counts = [slots(b) for b in node.inputs]
    output_count = slots(node.outputs[0])
    reason = node.layer.why_not_int8([specs[b] for b in node.inputs], node.tensors)
    if reason:
        return reason
    channels = [_channels(specs[b]) for b in node.inputs]
    if node.layer.JOINS_CHANNELS:
        per_tensor = all(count == 1 for count in counts)
        if per_tensor and output_count != 1:
            return "its inputs have one scale each, its output one a channel; TNN would use the first only (7.11, 31)"
        if not per_tensor and (output_count == 1 or counts != channels):
            return "some blobs have one scale, some one a channel; TNN's int8 form cannot mix them (7.11, 30)"
        if not per_tensor and node.layer.axis != 1:
            return f"joins axis {node.layer.axis}: TNN's int8 form copies bytes, right for channels only (7.11, 30)"
        return None
    if len({*counts, output_count}) > 1:
        return "some blobs have one scale, some one a channel; TNN's int8 form cannot mix them (7.11, 28)"
    return _why_fused_add_breaks(position, inference) if position - 1 in int8 else None


def _why_fused_add_breaks(position: int, inference: Inference) -> str | None:
    """TNN fuses an int8 1x1 convolution into the add right behind it; where that is wrong, the add stays fp32."""
    graph = inference.graph
    node, previous = graph.nodes[position], graph.nodes[position - 1] if position else None
    if previous is None or previous.layer.role != QuantRole.WEIGHTED or previous.outputs[0] not in node.inputs:
        return None
    if node.inputs.count(previous.outputs[0]) > 1:
        return "adds a convolution's output to itself: TNN's fusion of the two crashes (6.6)"
    if getattr(previous.layer, "activation_type", 0) == RELU6:
        return "behind a convolution with ReLU6: TNN's fusion of the two loses the addend (7.11, 9)"
    return None


def _channels(spec: BlobSpec) -> int:
    return spec.dims[1] if len(spec.dims) > 1 else 1


def _merge_pass_through(
    inference: Inference, int8: set[int], reasons: dict[int, str], config: QuantizeConfig, barred: Mapping[int, str]
) -> dict[str, str]:
    """ReLU and max pooling behind an int8 producer become int8; the blob before takes the scales of the blob after."""
    graph = inference.graph
    makers = {blob: p for p, node in enumerate(graph.nodes) if p not in inference.folded for blob in node.outputs}
    takes: dict[str, str] = {}
    for position, node in enumerate(graph.nodes):
        if node.layer.role != QuantRole.PASS or position in inference.folded:
            continue
        reason = barred.get(position) or _why_pass_fp32(node, inference, makers.get(node.inputs[0]), int8, config)
        reasons[position] = reason or ""
        if reason:
            continue
        del reasons[position]
        int8.add(position)
        # A chain (pooling behind ReLU behind convolution) hands the scales of its last blob up to its first.
        at = position
        while True:
            above, below = graph.nodes[at].inputs[0], graph.nodes[at].outputs[0]
            takes[above] = takes.get(below, below)
            maker = makers.get(above)
            if maker is None or maker not in int8 or graph.nodes[maker].layer.role != QuantRole.PASS:
                break
            at = maker
    return takes


def _why_pass_fp32(node: Node, inference: Inference, maker: int | None, int8: set[int], config) -> str | None:
    specs = inference.specs
    if maker is None or maker not in int8:
        return "not behind an int8 layer"
    if specs[node.inputs[0]].dtype != DataType.FLOAT:
        return f"blob {node.inputs[0]} is {specs[node.inputs[0]].dtype.name}, not FLOAT"
    reason = node.layer.why_not_int8([specs[b] for b in node.inputs], node.tensors)
    if reason:
        return reason
    if config.blob_method == "asymmetric" and not node.layer.KEEPS_ZERO_POINT:
        return "TNN's int8 form ignores the zero point of an asymmetric blob (7.11, 11)"
    return None
