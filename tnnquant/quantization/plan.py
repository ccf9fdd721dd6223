"""Decide before any picture is read which layers become int8, and how each blob is observed.

The rules are TNN's (docs/tnn-format.md, 7.4, 7.7, 7.8), restricted to what its runtime computes correctly (7.11): a
layer its tool would flag although the int8 model then crashes or gives garbage stays fp32, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from tnnquant.base.tensor import DataType
from tnnquant.base.wording import parameter
from tnnquant.config import MergeType, QuantizeConfig
from tnnquant.devices.conditions import Net, Place
from tnnquant.devices.findings import place_findings
from tnnquant.devices.rules import NAIVE
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import Inference
from tnnquant.graph.passes import is_sigmoid_mul
from tnnquant.graph.patterns import match_layers
from tnnquant.graph.ties import tied_blobs, top_of, who_takes_whose
from tnnquant.kernels.geometry import RELU6
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.layers.concat import Concat
from tnnquant.layers.prior_box import PriorBox
from tnnquant.layers.weighted import FusesActivation, fused_activation

__all__ = ["BlobPlan", "QuantPlan", "for_device", "make_plan"]

#: The methods of blobs and weights that have zero points, and what is used where a device ignores these.
ZERO_POINTS, SYMMETRIC = "asymmetric", "minmax"
FOLLOW_PEAK = ("minmax", "asymmetric")
"""Observers whose scales are a matter of the extremes alone."""


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
        A concat of blobs with a scale per channel has their scales side by side, because TNN copies its bytes: it need
        not be observed. Empty for any other blob.
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
        Blobs that take the finished scales of another: the input of a ReLU or max pooling that of its output, or the
        other way round (:mod:`tnnquant.graph.ties`).
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
                    need(self.takes_scale_of.get(part, part))
            else:
                needed[blob] = None

        for blob in self.blobs:
            need(self.takes_scale_of.get(blob, blob))
        return list(needed)


def for_device(config: QuantizeConfig) -> QuantizeConfig:
    """The configuration with symmetric methods for those with zero points, which only the naive device computes."""
    if config.device == NAIVE or ZERO_POINTS not in (config.blob_method, config.weight_method):
        return config
    blob_method, weight_method = (
        SYMMETRIC if method == ZERO_POINTS else method for method in (config.blob_method, config.weight_method)
    )
    return replace(config, blob_method=blob_method, weight_method=weight_method)


def make_plan(inference: Inference, config: QuantizeConfig, fused: Mapping[str, str] | None = None) -> QuantPlan:
    """Choose the int8 layers and the observer of every int8 blob.

    Parameters
    ----------
    inference : Inference
        Of the graph after :func:`tnnquant.graph.passes.prepare_for_quantization`.
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
    config = for_device(config)
    barred = {**_barred_by_device(inference, config.device), **_barred(graph, config, fused)}
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
    _add_pass_through(inference, int8, reasons, config, barred)
    groups = tied_blobs(graph, int8)
    top = top_of(groups)
    touched = dict.fromkeys(b for p in sorted(int8) for b in (*graph.nodes[p].inputs, *graph.nodes[p].outputs))
    blobs = {
        blob: BlobPlan(_method(blob, top.get(blob, blob), inference, config), slots(blob), specs[blob].dims)
        for blob in touched
    }
    for position in sorted(int8):
        node = graph.nodes[position]
        if _is_sum_of_parts(node, blobs):
            blobs[node.outputs[0]] = replace(blobs[node.outputs[0]], parts=node.inputs)
    takes = who_takes_whose(
        graph, groups, lambda blob: bool(blobs[blob].parts), lambda blob: blobs[blob].method in FOLLOW_PEAK
    )
    return QuantPlan(frozenset(int8), reasons, blobs, takes)


def _barred(graph: Graph, config: QuantizeConfig, fused: Mapping[str, str] | None) -> dict[int, str]:
    """Why layers stay fp32 because the user says so, or because those do for which they stand, by position."""
    excluded = match_layers(graph, config.exclude, "exclude", fused)
    barred = {position: f"excluded by {parameter('exclude', pattern)}" for position, pattern in excluded.items()}
    if config.include:
        included = match_layers(graph, config.include, "include", fused)
        left_out = set(range(len(graph.nodes))) - set(included) - set(barred)
        barred |= dict.fromkeys(left_out, f"not among {parameter('include')}")
    for position, node in enumerate(graph.nodes):
        if node.name in config.fp32_layers:
            barred[position] = config.fp32_layers[node.name]
        other = graph.stand_ins.get(node.name)
        if other is not None and not other.may_be_int8:
            barred.setdefault(position, f"stands for a layer of type {other.type}, which is fp32")
    return barred


def _barred_by_device(inference: Inference, device: str) -> dict[int, str]:
    """Why layers stay fp32 because a device computes their int8 form wrongly, and fp32 rightly, by position."""
    graph = inference.graph
    if device == NAIVE:
        return {}
    net = Net(graph, inference.specs, mixed=True)
    barred = {}
    for position, node in enumerate(graph.nodes):
        if node.layer.role in (QuantRole.WEIGHTED, QuantRole.JOIN) and position not in inference.folded:
            in_fp32 = {finding.rule for finding in place_findings(Place(node, position, net), device)}
            for finding in place_findings(Place(node.replace(quantized=True), position, net), device):
                if finding.outcome.breaks and finding.rule not in in_fp32:
                    barred[position] = f"int8 would be wrong on {finding.device}: it {finding.reason}"
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
    # Joins beside joins: those that lie after or before an int8 layer stay, and so do their neighbours.
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
    """Whether the output's scales are the inputs' side by side: a concat of channels, one scale each."""
    if not isinstance(node.layer, Concat) or node.layer.axis != 1:
        return False
    blob = blobs[node.outputs[0]]
    return blob.slots == blob.dims[1] and all(blobs[name].slots == blobs[name].dims[1] for name in node.inputs)


def _per_tensor_blobs(graph: Graph, config: QuantizeConfig) -> frozenset[str]:
    """Blobs with one scale: all but under merge type 0, and always those an inner product touches (7.4, 4)."""
    if config.merge_type != MergeType.CHANNEL:
        return graph.blob_names() | frozenset(graph.inputs)
    merged = {blob for node in graph.nodes if node.layer.PER_TENSOR_BLOBS for blob in (*node.inputs, *node.outputs)}
    for blobs in tied_blobs(graph, range(len(graph.nodes))).values():
        if not merged.isdisjoint(blobs):
            merged.update(blobs)
    return frozenset(merged)


def _method(blob: str, top: str, inference: Inference, config: QuantizeConfig) -> str:
    """The observer of a blob; ``top``: the blob at the top of those it is tied to."""
    from tnnquant.observers import choose_method

    method = choose_method(
        config.blob_method, inference.specs[blob].dims, is_network_input=blob in inference.graph.inputs
    )
    producer = inference.graph.producers().get(top)
    if method == "asymmetric" and producer and fused_activation(producer.layer) == RELU6:
        return "minmax"  # TNN's int8 ReLU6 drops the output's zero point (7.11, 10): it must be 0
    return method


def _why_fp32(
    position: int, inference: Inference, slots: Callable[[str], int], int8: set[int], barred: Mapping[int, str]
) -> str | None:
    """The reason why a node cannot be int8 on its own account, or None. Layers of role PASS are settled later."""
    node, specs = inference.graph.nodes[position], inference.specs
    if position in inference.folded:
        return "constant: computed once, not at run time"
    if position in barred:
        return barred[position]
    role = node.layer.role
    if role in (QuantRole.NONE, QuantRole.PASS):
        return "TNN has no int8 form of it"
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
    return _why_join_fp32(position, inference, slots, int8, barred)


def _why_join_fp32(
    position: int, inference: Inference, slots: Callable[[str], int], int8: set[int], barred: Mapping[int, str]
) -> str | None:
    graph, specs = inference.graph, inference.specs
    node = graph.nodes[position]
    counts = [slots(b) for b in node.inputs]
    output_count = slots(node.outputs[0])
    reason = node.layer.why_not_int8([specs[b] for b in node.inputs], node.tensors)
    if reason:
        return reason
    makers = graph.producers()
    if all(blob in makers and isinstance(makers[blob].layer, PriorBox) for blob in node.inputs):
        return "joins prior boxes, numbers that depend on sizes alone: in int8 narrow boxes would have no width left"
    channels = [_channels(specs[b]) for b in node.inputs]
    if isinstance(node.layer, Concat):
        per_tensor = all(count == 1 for count in counts)
        if per_tensor and output_count != 1:
            return "its inputs have one scale each, its output one per channel; TNN would use the first only"
        if not per_tensor and (output_count == 1 or counts != channels):
            return "some blobs have one scale, some one per channel; TNN's int8 form cannot mix them"
        if not per_tensor and node.layer.axis != 1:
            return f"joins axis {node.layer.axis}: TNN's int8 form copies bytes, right for channels only"
        return None
    if len({*counts, output_count}) > 1:
        return "some blobs have one scale, some one per channel; TNN's int8 form cannot mix them"
    return _why_fused_add_breaks(position, inference.graph, barred) if _is_fused_add(position, graph, int8) else None


def _is_fused_add(position: int, graph: Graph, int8: Collection[int]) -> bool:
    """Whether TNN fuses the add at this position into the int8 1x1 convolution right before it (docs/tnn-format.md,
    6.6)."""
    node, previous = graph.nodes[position], graph.nodes[position - 1]
    if position - 1 not in int8 or not previous.layer.fuses_add or node.layer.role != QuantRole.JOIN:
        return False
    source = previous.outputs[0]
    is_add = not isinstance(node.layer, Concat) and source in node.inputs
    return is_add and not _is_read_behind(source, position, graph)


def _is_read_behind(blob: str, position: int, graph: Graph) -> bool:
    return any(blob in node.inputs for node in graph.nodes[position + 1 :])


def _why_fused_add_breaks(position: int, graph: Graph, barred: Mapping[int, str]) -> str | None:
    """Why an add that TNN fuses into the convolution before it must stay fp32, or None."""
    node, previous = graph.nodes[position], graph.nodes[position - 1]
    source, target = previous.outputs[0], node.outputs[0]
    if source in graph.outputs:
        return f"TNN's fusion with the convolution before it loses the model output {source!r}"
    if node.inputs.count(source) > 1:
        return "adds a convolution's output to itself: TNN's fusion of the two crashes"
    convolution = previous.layer.expect(FusesActivation)
    if convolution.activation_type == RELU6:
        return "after a convolution with ReLU6: TNN's fusion of the two loses the addend"
    if is_sigmoid_mul(graph, position + 1, target):
        return f"TNN's fusion with the convolution before it drops the Sigmoid {graph.nodes[position + 1].name!r}"
    follower = graph.nodes[position + 1] if position + 1 < len(graph.nodes) else None
    if follower is None or not follower.layer.FUSED_CODE or convolution.activation_type:
        return None
    if _is_read_behind(target, position + 1, graph):
        return None
    # TNN also fuses the activation in the next line, whatever it reads and whether it is int8 or not.
    if follower.inputs != node.outputs or target in graph.outputs:
        return f"TNN's fusion of convolution, add and {follower.name!r} after them loses {target!r}"
    if follower.layer.role != QuantRole.PASS or position + 1 in barred:
        return f"TNN fuses convolution, add and {follower.name!r}, which has no int8 form, and then misses its scales"
    return None


def _channels(spec: BlobSpec) -> int:
    return spec.dims[1] if len(spec.dims) > 1 else 1


def _add_pass_through(
    inference: Inference, int8: set[int], reasons: dict[int, str], config: QuantizeConfig, barred: Mapping[int, str]
) -> None:
    """ReLU and max pooling after an int8 producer become int8."""
    graph = inference.graph
    makers = {blob: p for p, node in enumerate(graph.nodes) if p not in inference.folded for blob in node.outputs}
    for position, node in enumerate(graph.nodes):
        if node.layer.role != QuantRole.PASS or position in inference.folded:
            continue
        reason = barred.get(position)
        reason = reason or _why_pass_fp32(position, inference, makers.get(node.inputs[0]), int8, config)
        if reason:
            reasons[position] = reason
        else:
            reasons.pop(position, None)
            int8.add(position)


def _why_pass_fp32(
    position: int, inference: Inference, maker: int | None, int8: set[int], config: QuantizeConfig
) -> str | None:
    graph, specs = inference.graph, inference.specs
    node = graph.nodes[position]
    if maker is None or maker not in int8:
        return "not after an int8 layer"
    if specs[node.inputs[0]].dtype != DataType.FLOAT:
        return f"blob {node.inputs[0]} is {specs[node.inputs[0]].dtype.name}, not FLOAT"
    reason = node.layer.why_not_int8([specs[b] for b in node.inputs], node.tensors)
    if reason:
        return reason
    if config.blob_method == "asymmetric" and not node.layer.KEEPS_ZERO_POINT:
        # Fused into a convolution with an add, it comes before the zero point is added.
        fused = maker == position - 1 and _is_fused_add(maker, graph, int8) and node.layer.FUSED_CODE
        before = graph.nodes[maker - 1].layer
        activated = isinstance(before, FusesActivation) and before.activation_type
        if not fused or activated or _is_read_behind(node.inputs[0], position, graph):
            return "TNN's int8 form ignores the zero point of an asymmetric blob"
    return None
