"""A converted graph with the notes of :mod:`tnnquant.onnx.qdq.record`, as an int8 model with those scales and codes.

TNN's devices know symmetric codes alone. The layers around correct for zero points other than 0
(:mod:`tnnquant.onnx.qdq.zero_points`). Layers whose weights, inputs or outputs have no codes stay fp32, and so do those
whose int8 form in TNN would compute something other than the file says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import infer
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.layers.binary import Add
from tnnquant.layers.clip import Clip, Relu, Relu6
from tnnquant.layers.concat import Concat
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.convolution_nd import Convolution1D, Convolution3D
from tnnquant.layers.deconvolution import Deconvolution
from tnnquant.layers.pad import Pad, PadV2
from tnnquant.layers.permute import Permute
from tnnquant.layers.pooling import Pooling
from tnnquant.layers.reshape import Flatten, Reshape
from tnnquant.layers.squeeze import Squeeze, Unsqueeze
from tnnquant.layers.weighted import FusesActivation, Weighted
from tnnquant.onnx.qdq.integers import Integers, in_integers
from tnnquant.onnx.qdq.parts import Names, rounded
from tnnquant.onnx.qdq.record import BlobCodes, Records, WeightCodes
from tnnquant.onnx.qdq.ties import matched
from tnnquant.onnx.qdq.zero_points import Stored, absorbs_activation, borders, stored

__all__ = ["Applied", "apply_codes", "passed_on"]

_NONE = BlobCodes(np.zeros(0, np.float32), np.zeros(0, np.int64))
_LIMIT = np.iinfo(np.int32)
_LOWEST, _HIGHEST = -128, 127
#: By how much the sum for a zero point may move where a scale is nudged.
_NUDGED = 1 << 12
#: A code means 6 if it is off by at most this share.
_SAME = 1e-6


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
        Blobs whose zero point was not 0: coarser symmetric codes; the codes of the file with zero point 0.
    bordered : list of str
        Shifted blobs whose border an fp32 layer writes.
    rounded : list of str
        Blobs of fp32 layers that are rounded as the file says, by an int8 layer that changes nothing else.
    tensors : dict of str to (str, BlobCodes)
        Where the ONNX model has the codes of int8 blobs, and what its codes are.
    integers : Integers or None
        The layers that are kept in fp32 with the file's integers.
    """

    graph: Graph
    int8: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    rescaled: list[str] = field(default_factory=list)
    shifted: list[str] = field(default_factory=list)
    bordered: list[str] = field(default_factory=list)
    rounded: list[str] = field(default_factory=list)
    tensors: dict[str, tuple[str, BlobCodes]] = field(default_factory=dict)
    integers: Integers | None = None

    def notes(self) -> list[str]:
        """For the user."""
        exact = self.integers.layers if self.integers is not None else []
        if not self.int8 and not self.kept and not exact:
            return []
        lines = [f"{len(self.int8)} of {len(self.graph.nodes)} layers are int8 with the scales and weights of the file"]
        if self.integers is not None and exact:
            lines.append(
                f"{_named(exact)}: zero points other than 0, which TNN's devices do not have; {len(exact)} layers are "
                "kept in fp32 and compute the file's integers"
            )
            if self.integers.beyond:
                lines.append(
                    f"{_named(self.integers.beyond)}: sums beyond 2^24, if an input has such, are rounded in fp32"
                )
        if self.shifted:
            lines.append(
                f"{_named(self.shifted)}: zero points other than 0, which TNN's devices do not have; the codes are "
                "kept, and the layers around them are corrected for it"
            )
        if self.bordered:
            lines.append(f"{_named(self.bordered)}: an fp32 layer writes the border for layers that pad")
        if self.rescaled:
            lines.append(
                f"{_named(self.rescaled)}: zero points other than 0, which TNN's devices do not have; rescaled to "
                "symmetric codes, which are coarser (a depthwise layer pads them, or the code for 0 of a ReLU is not "
                "the lowest)"
            )
        if self.rounded:
            lines.append(f"{_named(self.rounded)}: rounded to int8 for fp32 layers, as in the file")
        reasons: dict[str, list[str]] = {}
        for name, reason in self.kept.items():
            reasons.setdefault(reason, []).append(name)
        return lines + [f"{_named(names)} kept in fp32: {reason}" for reason, names in reasons.items()]


def _named(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def apply_codes(graph: Graph, records: Records, *, in_fp32: bool = False, half: bool = False) -> Applied:
    """The graph with int8 layers where the notes allow it; the graph itself where there are none.

    Parameters
    ----------
    graph : Graph
        In fp32, with a note on each blob that has codes.
    records : Records
    in_fp32 : bool
        Keep layers with zero points other than 0 in fp32, exactly (:mod:`tnnquant.onnx.qdq.integers`).
    half : bool
        Store the weights of those as float16.
    """
    if not records.blobs or not records.weights:
        return Applied(graph)
    graph = _activations_first(graph)
    codes = passed_on(graph, records.blobs)
    graph = prepare_for_quantization(_kept_apart(graph, codes))
    inference = infer(graph)
    graph = inference.graph
    codes = {blob: codes[blob] for blob in inference.specs if blob in codes}
    integers, exact = None, {}
    if in_fp32:
        integers = in_integers(graph, inference.specs, codes, records, half=half)
        exact = {
            name: (records.tensors[blob], codes[blob])
            for name, blob in integers.blobs.items()
            if blob in records.tensors
        }
        codes = {blob: noted for blob, noted in codes.items() if not noted.zero.any()}
        inference = infer(integers.graph)
        graph = inference.graph
    rescaled = _rescaled(graph, codes, inference.specs)
    plan = _Plan(graph, inference.specs, codes, records)
    if not plan.int8:
        return Applied(graph, kept=plan.kept, tensors=exact, integers=integers)

    def quantized(node: Node, zero: np.ndarray, to: BlobCodes) -> Node:
        return _quantized(node, plan.weights[node.name], codes[node.inputs[0]].scale, zero, to)

    made = stored(graph, inference.specs, codes, plan.int8, quantized)
    nodes, scales = _unfused(made, inference.specs, Names(graph.with_nodes(made.nodes)))
    touched = {blob for node in nodes if node.quantized for blob in (*node.inputs, *node.outputs)}
    result = graph.with_nodes(nodes).replace(scales={name: scales[name] for name in scales if name in touched})
    tensors = exact | {
        name: (records.tensors[blob], records.blobs[blob])
        for name, blob in made.of.items()
        if name in touched and blob in records.tensors
    }
    return Applied(
        result, sorted(plan.int8), plan.kept, [blob for blob in rescaled if blob in touched], made.shifted,
        made.bordered, made.rounded, tensors, integers,
    )  # fmt: skip


def _activations_first(graph: Graph) -> Graph:
    """Each ReLU right after the layer that makes its input: TNN fuses neighbours only."""
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
    return layer.role == QuantRole.PASS or isinstance(layer, Relu6) or is_border or is_shape


def passed_on(graph: Graph, noted: Mapping[str, BlobCodes]) -> dict[str, BlobCodes]:
    """Notes on both sides of layers that pass codes on: a maximum, a ReLU, another shape, a border of zeros."""
    codes, readers = dict(noted), graph.consumers()
    for nodes in (graph.nodes, graph.nodes[::-1]):
        for node in nodes:
            if _passes(node):
                source, target = node.inputs[0], node.outputs[0]
                found = codes.get(source, codes.get(target, _NONE))
                if not isinstance(node.layer, Pooling | Relu | Relu6) and found.scale.size > 1:
                    continue  # channels may lie elsewhere
                if isinstance(node.layer, Relu6) and not _ends_at_six(found):
                    continue
                if source in codes and target not in codes:
                    codes[target] = codes[source]
                elif target in codes and source not in codes and len(readers.get(source, ())) == 1:
                    codes[source] = codes[target]
    return codes


def _ends_at_six(codes: BlobCodes) -> bool:
    """Whether one of the codes means 6, as exactly as floats do, or none means more."""
    steps = 6 / codes.scale.astype(np.float64)
    is_code = np.abs(steps - np.rint(steps)) <= _SAME * steps
    return bool((is_code | (steps + codes.zero > _HIGHEST + 0.5)).all())


def _kept_apart(graph: Graph, codes: Mapping[str, BlobCodes]) -> Graph:
    """Activations that read other codes than they make, as layers that TNN does not fuse: the file rounds twice."""
    makers = graph.producers()

    def apart(node: Node) -> Node:
        if not isinstance(node.layer, Relu | Relu6) or len(node.inputs) != 1:
            return node
        maker, source = makers.get(node.inputs[0]), codes.get(node.inputs[0])
        if maker is None or maker.layer.role != QuantRole.WEIGHTED or source is None:
            return node
        target = codes.get(node.outputs[0])
        if target is not None and source.same(target) and (not source.zero.any() or (source.zero == _LOWEST).all()):
            return node
        most = 6.0 if isinstance(node.layer, Relu6) else float(np.finfo(np.float32).max)
        return node.replace(layer=Clip(min=0.0, max=most), type_string="Clip")

    return graph.with_nodes(apart(node) for node in graph.nodes)


def _rescaled(graph: Graph, codes: dict[str, BlobCodes], specs: Mapping[str, BlobSpec]) -> list[str]:
    """Blobs that get symmetric codes instead of their zero point, by name; ``codes`` is changed.

    Those of a ReLU that TNN would start from the code 0, and those that a depthwise layer pads: a border in fp32 takes
    longer than such a layer, and doubled the time of EfficientNet-Lite0.
    """
    found = []
    readers = graph.consumers()
    for node in graph.nodes:
        blob = node.outputs[0]
        if node.layer.role != QuantRole.WEIGHTED or blob not in codes or not codes[blob].zero.any():
            continue
        pads = any(_is_depthwise(reader, specs) and borders(reader, specs) for reader in readers.get(blob, ()))
        if pads or not absorbs_activation(node, codes[blob]):
            noted = codes[blob]
            reach = np.maximum(_HIGHEST - noted.zero, noted.zero - _LOWEST)
            codes[blob] = BlobCodes(noted.scale * (reach / _HIGHEST).astype(np.float32), np.zeros_like(noted.zero))
            found.append(blob)
    return found


def _is_depthwise(node: Node, specs: Mapping[str, BlobSpec]) -> bool:
    if not isinstance(node.layer, (Convolution, Convolution1D, Convolution3D, Deconvolution)):
        return False
    group = node.layer.group
    return group > 1 and group == specs[node.inputs[0]].dims[1] == node.layer.output_channel


def _unfused(
    made: Stored, specs: Mapping[str, BlobSpec], names: Names
) -> tuple[list[Node], dict[str, QuantParams]]:
    """A layer between each int8 1x1 convolution and the Add right after it, which TNN would fuse: the file rounds what
    the convolution makes."""
    nodes, scales = made.nodes, made.scales
    last_reader = {blob: position for position, node in enumerate(nodes) for blob in node.inputs}
    result: list[Node] = []
    for position, node in enumerate(nodes):
        previous = result[-1] if result else None
        if (
            previous is not None
            and previous.quantized
            and previous.layer.fuses_add
            and node.quantized
            and isinstance(node.layer, Add)
            and previous.outputs[0] in node.inputs
            and last_reader[previous.outputs[0]] == position
        ):
            (blob,) = previous.outputs
            copy = names.new(f"{blob}_rounded")
            scales[copy] = scales[blob]
            made.of[copy] = made.of[blob]
            result.append(rounded(blob, copy, specs[node.outputs[0]], scales[blob].scale, names))
            node = node.replace(inputs=tuple(copy if name == blob else name for name in node.inputs))
        result.append(node)
    return result, scales


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
            if codes[node.inputs[0]].scale.size > 1 and not _is_depthwise(node, self._specs):
                return "its input has one scale per channel, which its weights would have to hold"
            if codes[node.inputs[0]].scale.size > 1 and codes[node.inputs[0]].zero.any() and borders(node, self._specs):
                return "it pads an input with one zero point per channel"
            if codes[node.inputs[0]].zero.any() and min(borders(node, self._specs) or (0,)) < 0:
                return "its padding is negative"
            self.weights[node.name] = record
        elif without:
            return ""
        elif layer.role == QuantRole.PASS:
            if node.inputs[0] not in made:
                return ""
            if not codes[node.inputs[0]].same(codes[node.outputs[0]]):
                return "its output has another scale than its input"
            if codes[node.inputs[0]].zero.any():
                return "TNN's int8 form ignores zero points"
        elif any(codes[blob].zero.any() for blob in (*node.inputs, *node.outputs)) and not (
            isinstance(layer, Concat) and all(codes[blob].same(codes[node.outputs[0]]) for blob in node.inputs)
        ):
            return "TNN's int8 form adds and joins codes whose zero point is 0"
        elif any(codes[blob].scale.size > 1 for blob in (*node.inputs, *node.outputs)):
            return "it joins blobs with one scale per channel"
        return layer.why_not_int8([self._specs[blob] for blob in node.inputs], node.tensors)


def _quantized(node: Node, weights: WeightCodes, source: np.ndarray, zero: np.ndarray, to: BlobCodes) -> Node:
    """The int8 form of a layer whose input has that scale and ``zero`` for 0, and whose output has the codes ``to``."""
    layer = node.layer.expect(Weighted)
    count = layer.outputs
    # As onnxruntime multiplies: in float32.
    step = np.broadcast_to((weights.scale * source).astype(np.float32), count)
    bias = node.tensors.get("bias")
    values = bias.float32().astype(np.float64) if bias is not None and bias.size else np.zeros(count)
    codes = weights.codes.astype(np.int64).reshape(count, -1)
    # Weights of a channel that does next to nothing may have a scale so small that the bias is beyond 32 bits: coarser.
    with np.errstate(all="ignore"):
        most = (np.abs(values) + np.abs(to.zero * to.scale)) / step + np.abs(zero * codes.sum(axis=1)) + _NUDGED
        halvings = np.ceil(np.log2(np.maximum(most / _LIMIT.max, 1)))
    step = (step * np.exp2(halvings)).astype(np.float32)
    codes = np.rint(codes / np.exp2(halvings)[:, None]).astype(np.int64)
    stored = np.rint(values / step) - zero * codes.sum(axis=1)
    if (to.zero == to.zero[0]).all():
        step, summand = matched(step, np.broadcast_to(to.scale, count), int(to.zero[0]))
    else:
        summand = np.rint(to.zero * to.scale.astype(np.float64) / step)
    stored = stored + summand
    tensors = {
        **node.tensors,
        layer.WEIGHTS: Tensor(weights.codes, (), DataType.INT8),
        "scale": Tensor(np.ascontiguousarray(step), (), DataType.FLOAT),
        "zero_point": Tensor(np.zeros(step.size, np.int8), (), DataType.INT8),
        "bias": Tensor(np.clip(stored, _LIMIT.min, _LIMIT.max).astype(np.int32), (), DataType.INT32),
    }
    extras = {**node.resource.extras, "has_bias": 1} if node.resource else {}
    resource = replace(node.resource, tensors=tensors, extras=extras) if node.resource else None
    changes = {layer.BIAS_FLAG: 1}
    if to.zero.any() and isinstance(layer, FusesActivation):
        changes["activation_type"] = 0  # codes end where it would cut
    return node.replace(layer=replace(layer, **changes), resource=resource, quantized=True)
