"""What a file tells by itself of the codes that mean 0, where its zero points are silent about them.

The recipe ``best`` leaves traces (:mod:`tnnquant.graph.meaning`): guard channels, whose weights are zeros and whose
bias saturates; copies of a blob by ones, with a bias of whole or half steps; shifts after an average of codes, of whole
steps. Each of them says for certain that codes are shifted. Where no fp32 model is at hand, the model from before is
made up from them here.

A shifted blob that only layers without padding read leaves no such trace. But these layers make up for ``z`` in their
biases, by ``-z`` times the sum of each output's weights, and biases do not follow those sums otherwise: a batch
normalization that was folded in makes them fall with the sums, a shift makes them rise, by up to 128 per step. In a
model with traces this decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.graph.copies import border_of
from tnnquant.graph.graph import Graph, Node
from tnnquant.kernels.geometry import RELU
from tnnquant.layers.base import QuantRole
from tnnquant.layers.batch_norm import BatchNorm
from tnnquant.layers.concat import Concat
from tnnquant.layers.convolution import EXPLICIT, SAME, Convolution
from tnnquant.layers.pooling import AVERAGE, Pooling
from tnnquant.layers.weighted import Weighted

__all__ = ["GUARD_BIAS", "bias_of_codes", "made_up_original", "shift_of_copy"]

#: The bias of an int8 guard channel, in steps of its output.
GUARD_BIAS = -512
#: How far from a whole number of steps a shift may be: float32 was rounded.
_WHOLE = 1e-2
#: Biases rise with the sums of weights by so many codes at least, and that many standard errors.
_RISES, _SURELY = 32.0, 3.0
_LOWEST, _POOLED = -128, -127


@dataclass(frozen=True, eq=False)
class _Traces:
    """What was found.

    Attributes
    ----------
    guards : dict of str to int
        Guard channels by blob.
    copies : dict of str to Node
        By the blob of the copy.
    shifts : dict of str to Node
        Layers that shift an average back, by the blob they read.
    """

    guards: Mapping[str, int]
    copies: Mapping[str, Node]
    shifts: Mapping[str, Node]


def made_up_original(graph: Graph) -> Graph | None:
    """The layers of an int8 model as they were before codes were shifted, all as if they were fp32.

    Names, blobs, numbers of channels, pads and activations are right; weights are those of the file, but those of fp32
    layers, which are as they were. None: the file has no traces.

    Parameters
    ----------
    graph : Graph
        As in its file.
    """
    readers = graph.consumers()
    copies = {node.outputs[0]: node for node in graph.nodes if _is_copy(node, graph, readers)}
    shifts = {node.inputs[0]: node for node in graph.nodes if _is_shift(node, graph, readers)}
    guards = {node.outputs[0]: count for node in graph.nodes if (count := _guards(node, graph, readers))}
    if not (copies or shifts or guards):
        return None
    traces = _Traces(guards, copies, shifts)
    shifted = _shifted(graph, traces, readers)
    gone = {node.name for node in (*copies.values(), *shifts.values())}
    return graph.with_nodes(
        _original(node, graph, traces, shifted) for node in graph.nodes if node.name not in gone
    ).replace(scales={})


# --- traces ---


def _is_copy(node: Node, graph: Graph, readers: Mapping[str, list[Node]]) -> bool:
    """An fp32 layer that copies a blob for int8 convolutions, with a bias of whole or half steps of its scale."""
    if node.quantized or border_of(node) is None:
        return False
    blob = node.outputs[0]
    if blob not in graph.scales or blob in graph.outputs or not _are_int8(readers.get(blob, [])):
        return False
    return _are_whole_steps(node.tensors, graph.scales[blob].scale, parts=2)


def shift_of_copy(copy: Node, scale: np.ndarray) -> np.ndarray:
    """The codes that mean 0 in a copy, int8 (C,); of half a step the lower one, as rounding away from 0 has it."""
    bias = copy.tensors["bias"].float32().astype(np.float64)
    steps = np.floor(bias / np.where(scale > 0, scale, 1) + 0.25)
    return np.clip(steps, _LOWEST, 127).astype(np.int8)


def _is_shift(node: Node, graph: Graph, readers: Mapping[str, list[Node]]) -> bool:
    """A layer that adds whole steps to the averages of codes."""
    if node.quantized or not node.inputs or not isinstance(node.layer, BatchNorm):
        return False
    if len(readers.get(node.inputs[0], [])) != 1:
        return False
    pool = graph.producers().get(node.inputs[0])
    if pool is None or pool.quantized or not isinstance(pool.layer, Pooling) or pool.layer.pool_type != AVERAGE:
        return False
    if pool.inputs[0] not in graph.scales or "scale" not in node.tensors:
        return False
    if not (node.tensors["scale"].float32() == 1).all():
        return False
    return _are_whole_steps(node.tensors, graph.scales[pool.inputs[0]].scale)


def _are_whole_steps(tensors: Mapping[str, Tensor], scale: np.ndarray, parts: int = 1) -> bool:
    """Whether a bias that is not 0 everywhere is a whole number of steps, or of parts of a step; 128 steps at most."""
    if "bias" not in tensors or tensors["bias"].size not in (1, scale.size):
        return False
    alive = scale > 0
    steps = tensors["bias"].float32().astype(np.float64) / np.where(alive, scale, 1)
    rest = np.abs(parts * steps - np.rint(parts * steps))[alive]
    return bool(steps.any() and (np.abs(steps) <= 128 + _WHOLE).all() and (rest < _WHOLE).all())


def _guards(node: Node, graph: Graph, readers: Mapping[str, list[Node]]) -> int:
    """How many of the last channels that a convolution makes are guards."""
    blob = node.outputs[0] if node.outputs else ""
    if not isinstance(node.layer, Convolution) or blob not in graph.scales or blob in graph.outputs:
        return 0
    channels = node.layer.output_channel
    if graph.scales[blob].scale.size != channels or not {"filter", "bias"} <= node.tensors.keys():
        return 0
    if node.layer.activation_type or not _are_int8(readers.get(blob, [])):
        return 0
    filters, bias = node.tensors["filter"], node.tensors["bias"]
    if bias.size != channels or filters.size % channels or (bias.dtype == DataType.INT32) != node.quantized:
        return 0
    zeros = ~filters.data.reshape(channels, -1).any(axis=1)
    far = bias.data == GUARD_BIAS if node.quantized else (bias.float32() < 0) & (bias.float32() == bias.float32()[-1])
    guards = int(np.argmin((zeros & far)[::-1])) if not (zeros & far).all() else 0
    scale = graph.scales[blob].scale
    return guards if guards and (scale[-guards:] == scale[:-guards].max()).all() else 0


def _are_int8(nodes: list[Node]) -> bool:
    return bool(nodes) and all(node.quantized and isinstance(node.layer, Convolution) for node in nodes)


# --- which blobs are shifted ---


def _shifted(graph: Graph, traces: _Traces, readers: Mapping[str, list[Node]]) -> set[str]:
    """The blobs of weighted layers whose lost ReLU makes -128, or -127, the code for 0."""
    makers = graph.producers()
    found = set(traces.guards)
    for blob in traces.shifts:
        found |= _weighted_behind(makers[blob].inputs[0], makers)
    found = {blob for blob in found if _may_be_shifted(makers.get(blob), graph)}
    # From the end: what a layer makes must be known before its bias can tell of what it reads.
    for node in reversed(graph.nodes):
        blob = node.outputs[0] if node.outputs else ""
        if blob not in found and _may_be_shifted(node, graph) and _biases_tell(graph, blob, readers, found):
            found.add(blob)
    return found


def _weighted_behind(blob: str, makers: Mapping[str, Node]) -> set[str]:
    """The blobs of weighted layers that a blob passes on, through int8 max pooling and concat."""
    maker = makers.get(blob)
    if maker is None:
        return set()
    if maker.layer.role == QuantRole.WEIGHTED:
        return {blob}
    if maker.layer.role == QuantRole.PASS or isinstance(maker.layer, Concat):
        return {found for name in maker.inputs for found in _weighted_behind(name, makers)}
    return set()


def _may_be_shifted(maker: Node | None, graph: Graph) -> bool:
    if maker is None or maker.layer.role != QuantRole.WEIGHTED or not isinstance(maker.layer, Convolution):
        return False
    blob = maker.outputs[0]
    return not maker.layer.activation_type and blob not in graph.outputs and _size(graph, blob) > 1


def _size(graph: Graph, blob: str) -> int:
    return graph.scales[blob].scale.size if blob in graph.scales else 0


def _biases_tell(graph: Graph, blob: str, readers: Mapping[str, list[Node]], shifted: set[str]) -> bool:
    """Whether the biases of the int8 layers that read a blob rise with the sums of its weights."""
    size = _size(graph, blob)
    ones = {blob: (0, size, size)}  # the part of each blob that it is: from, to, channels of all
    best = (0.0, np.inf)
    waiting = [blob]
    while waiting:
        name = waiting.pop()
        first, last, count = ones[name]
        for node in readers.get(name, []):
            if not node.quantized:
                if not (isinstance(node.layer, Pooling) and node.layer.pool_type == AVERAGE):
                    return False
            elif node.layer.role == QuantRole.WEIGHTED:
                part = np.zeros(count, np.int8)
                part[first:last] = 1
                rise = _rise(node, part, graph, shifted)
                best = min(best, rise, key=lambda pair: pair[1]) if rise else best
            elif node.layer.role == QuantRole.PASS:
                ones[node.outputs[0]] = ones[name]
                waiting.append(node.outputs[0])
            elif isinstance(node.layer, Concat):
                before = sum(_size(graph, other) for other in node.inputs[: node.inputs.index(name)])
                whole = sum(_size(graph, other) for other in node.inputs)
                ones[node.outputs[0]] = before + first, before + last, whole
                waiting.append(node.outputs[0])
            else:
                return False
    slope, error = best
    return slope > _RISES and slope > _SURELY * error


def _rise(node: Node, part: np.ndarray, graph: Graph, shifted: set[str]) -> tuple[float, float] | None:
    """By how much biases rise with the sums of weights, in codes, and the standard error of that."""
    if "bias" not in node.tensors or node.tensors["bias"].dtype != DataType.INT32:
        return None
    bias = node.tensors["bias"].data.astype(np.float64)
    try:
        sums = bias_of_codes(node, part).astype(np.float64)
        # What other parts of the input that are shifted contribute.
        bias = bias + bias_of_codes(node, _codes(node.inputs[0], graph, shifted))
    except (ValueError, ZeroDivisionError):
        return None  # weights that do not fit: whoever runs the layer says so
    if bias.size != sums.size or bias.size < 4:
        return None
    if node.outputs[0] in shifted:
        step = node.tensors["scale"].float32().astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            made = np.where(step > 0, -_LOWEST * graph.scales[node.outputs[0]].scale / step, 0)
        bias = bias + made
    keep = bias != GUARD_BIAS
    bias, sums = bias[keep] - bias[keep].mean(), sums[keep] - sums[keep].mean()
    spread = float(sums @ sums)
    if keep.sum() < 4 or spread == 0:
        return None
    slope = float(sums @ bias) / spread
    rest = bias - slope * sums
    return slope, float(np.sqrt(rest @ rest / (keep.sum() - 2) / spread))


def _codes(blob: str, graph: Graph, shifted: set[str]) -> np.ndarray:
    """The codes that mean 0 in a blob, as far as they are known, int8 (C,)."""
    maker = graph.producers().get(blob)
    if maker is not None and maker.layer.role == QuantRole.PASS and maker.quantized:
        return _codes(maker.inputs[0], graph, shifted)
    if maker is not None and isinstance(maker.layer, Concat) and maker.quantized:
        return np.concatenate([_codes(name, graph, shifted) for name in maker.inputs])
    return np.full(max(_size(graph, blob), 1), _LOWEST if blob in shifted else 0, np.int8)


def bias_of_codes(node: Node, codes: np.ndarray) -> np.ndarray:
    """Sums of an int8 layer's weights times the codes of the input channels they meet, int64 (OC,)."""
    layer = node.layer.expect(Weighted)
    weight, groups, count = node.tensors[layer.WEIGHTS], layer.groups, layer.outputs
    each = codes.size // groups if codes.size > 1 else 1
    rows = weight.data.astype(np.int64).reshape(groups, count // groups, each, -1).sum(axis=3)
    sums: np.ndarray = (rows * codes.astype(np.int64).reshape(-1 if codes.size > 1 else 1, 1, each)).sum(axis=2)
    return sums.reshape(-1)


# --- the model from before ---


def _original(node: Node, graph: Graph, traces: _Traces, shifted: set[str]) -> Node:
    """A layer as it was, to be matched with the one in the file."""
    changes: dict[str, int] = {}
    blob = node.outputs[0] if node.outputs else ""
    source = node.inputs[0] if node.inputs else ""
    if source in traces.copies:
        copy, border = traces.copies[source], border_of(traces.copies[source])
        if border is not None:
            kind = EXPLICIT if border.is_even else SAME
            changes |= {"pad_h": border.top, "pad_w": border.left, "pad_type": kind}
        node = node.replace(inputs=(copy.inputs[0], *node.inputs[1:]))
    if source in traces.guards:
        changes["input_channel"] = node.layer.expect(Convolution).input_channel - traces.guards[source]
    if blob in traces.guards:
        changes["output_channel"] = node.layer.expect(Convolution).output_channel - traces.guards[blob]
    if blob in shifted:
        changes["activation_type"] = RELU
        if not node.quantized:
            node = _unshifted(node, graph, node.layer.expect(Convolution).output_channel - traces.guards.get(blob, 0))
    if blob in traces.shifts:
        node = node.replace(outputs=traces.shifts[blob].outputs)
    if changes:
        # All of them are parameters of a convolution.
        node = node.replace(layer=replace(node.layer.expect(Convolution), **changes))
    return node.replace(quantized=False, type_string=node.layer.TYPE_NAMES[0]) if node.quantized else node


def _unshifted(node: Node, graph: Graph, channels: int) -> Node:
    """An fp32 convolution without guards, and without the shift in its bias."""
    scale = graph.scales[node.outputs[0]].scale.astype(np.float64)
    bias = node.tensors["bias"].float32()[:channels] - _LOWEST * scale[:channels]
    weight = node.tensors["filter"].float32().reshape(node.tensors["bias"].size, -1)[:channels]
    tensors = {
        **node.tensors,
        "filter": Tensor(np.ascontiguousarray(weight).reshape(-1), (), DataType.FLOAT),
        "bias": Tensor(bias.astype(np.float32), (), DataType.FLOAT),
    }
    return node.replace(resource=node.resource and replace(node.resource, tensors=tensors))
