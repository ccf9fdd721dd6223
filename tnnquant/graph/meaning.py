"""A model as it is meant, out of how it is stored.

Models of the recipe ``best`` use all 256 codes after a ReLU. Their files say zero point 0 for every blob, but in some
the code that means 0 is -128 (-127 where max pooling follows; :mod:`tnnquant.recipes.best.full_range`): a convolution
that has a ReLU in fp32 and none in the int8 model tells. Where a shifted copy is read
(:mod:`tnnquant.recipes.best.shifted_copies`), its bias does. Here such a model becomes one with zero points, whose
blobs mean what they say, without the guard channels, the copies and the layers that make up for the shift.

Everything that is said of a model is said of what it means; bytes alone are of what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tnnquant.base.tensor import QuantParams, Tensor
from tnnquant.graph.copies import border_of
from tnnquant.graph.graph import Graph, Node
from tnnquant.graph.lower import REFORMATTED
from tnnquant.graph.traces import bias_of_codes, made_up_original, shift_of_copy
from tnnquant.kernels.geometry import RELU, RELU6
from tnnquant.layers.base import Layer, QuantRole
from tnnquant.layers.concat import Concat
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.pooling import Pooling
from tnnquant.layers.weighted import FusesActivation, fused_activation

__all__ = ["Meaning", "TakenOut", "base_name", "meaning_of", "without_copies", "zero_points"]

_GUARDS = (
    "{count} guard channels, the last ones: where the code -128 means 0 they make up for the padding of the layers "
    "that read the blob, whose code is 0"
)
_COPY = "copies {source} for the int8 layers that read it, shifted so that its codes use all 256 values"
_SHIFT = "shifts averages back: the codes that were averaged use all 256 values"


@dataclass(frozen=True)
class TakenOut:
    """Something that is stored and is no part of what the model means.

    Attributes
    ----------
    kind : {"guards", "copy", "shift"}
    name : str
        The blob that has guard channels, or the layer.
    why : str
    """

    kind: str
    name: str
    why: str

    def as_dict(self) -> dict[str, str]:
        """As JSON types."""
        return {"kind": self.kind, "name": self.name, "why": self.why}


@dataclass(frozen=True, eq=False)
class Meaning:
    """What a model means.

    Attributes
    ----------
    stored : Graph
        As in its file; what runs.
    graph : Graph
        As it is meant: with real zero points, without what was taken out.
    taken_out : tuple of TakenOut
    copies : dict of str to Node
        Of ``stored``, by the blob of the copy.
    shifted_floats : frozenset of str
        Blobs that fp32 layers of ``stored`` make with a shift: only their codes mean something.
    """

    stored: Graph
    graph: Graph
    taken_out: tuple[TakenOut, ...] = ()
    copies: Mapping[str, Node] = field(default_factory=dict)
    shifted_floats: frozenset[str] = frozenset()

    @property
    def is_as_stored(self) -> bool:
        """Whether the file means what it says."""
        return self.graph is self.stored

    def view(self, name: str, array: np.ndarray) -> tuple[str, np.ndarray] | None:
        """A blob of the stored model as one of the meant: without guards and the padding of copies.

        Parameters
        ----------
        name : str
            As the executor of ``stored`` calls it.
        array : ndarray

        Returns
        -------
        (str, ndarray) or None
            The blob's name in :attr:`graph`; None: its values mean nothing there.
        """
        blob = name
        if name in self.copies:
            copy, border = self.copies[name], border_of(self.copies[name])
            if array.dtype != np.int8 or border is None:
                return None
            blob, array = copy.inputs[0], border.cut(array)
        elif name in self.shifted_floats and array.dtype != np.int8:
            return None
        params = self.graph.scales.get(blob)
        if array.ndim > 1 and params is not None and 1 < params.scale.size < array.shape[1]:
            array = array[:, : params.scale.size]
        return blob, array


def base_name(blob: str) -> str:
    """The blob of a model that an executor's int8 copy of it belongs to."""
    return blob.removesuffix(REFORMATTED)


def meaning_of(
    stored: Graph, fp32: Graph | None = None, zero_codes: Mapping[str, np.ndarray] | None = None
) -> Meaning:
    """What a model means.

    Biases are those of the model before they were lowered, so that every layer by itself gives, up to the rounding of a
    bias, the same codes.

    Parameters
    ----------
    stored : Graph
        As in its file.
    fp32 : Graph, optional
        The model it was made from, in the form that is quantized. Without it the file alone tells, as far as it can
        (:mod:`tnnquant.graph.traces`).
    zero_codes : mapping of str to ndarray, optional
        What the recipe that made the model says of the codes that mean 0
        (:class:`tnnquant.quantization.quantize.Quantization`); by default they are found out.
    """
    if not stored.is_quantized or any(params.zero_point.any() for params in stored.scales.values()):
        return Meaning(stored, stored)
    if fp32 is not None:
        return _beside(stored, fp32, zero_codes)
    try:
        made_up = made_up_original(stored)
        return Meaning(stored, stored) if made_up is None else _beside(stored, made_up, None)
    except (ArithmeticError, AttributeError, LookupError, ValueError):
        return Meaning(stored, stored)  # a damaged file: whoever checks or runs it says what is wrong


def _beside(stored: Graph, fp32: Graph, zero_codes: Mapping[str, np.ndarray] | None) -> Meaning:
    """What a model means beside the one it was made from."""
    originals = {node.name: node for node in fp32.nodes}
    copies = {node.outputs[0]: node for node in stored.nodes if _copies(node, stored, originals)}
    graph, copied = _settled(stored, copies, originals)
    if zero_codes is None:
        zero = zero_points(graph, fp32)
    else:
        zero = {
            blob: np.broadcast_to(codes, graph.scales[blob].scale.size).astype(np.int8)
            for blob, codes in zero_codes.items()
            if blob in graph.scales and blob not in copies
        }
    zero |= copied
    if not zero:
        return Meaning(stored, stored)
    scales = {
        blob: QuantParams(params.scale, zero[blob]) if blob in zero else params
        for blob, params in graph.scales.items()
    }
    nodes = [_restored(node, originals.get(node.name), scales, zero) for node in graph.nodes]
    restored = graph.with_nodes(nodes).replace(scales=scales)
    meant = _without_shifts(_without_guards(restored, originals, zero), originals, zero)
    floats = {blob for node in stored.nodes if not node.quantized for blob in node.outputs if blob in zero}
    return Meaning(stored, meant, _taken_out(stored, meant, copies), copies, frozenset(floats - copied.keys()))


def _taken_out(stored: Graph, meant: Graph, copies: Mapping[str, Node]) -> tuple[TakenOut, ...]:
    kept = {node.name for node in meant.nodes}
    found = []
    for node in stored.nodes:
        for blob in node.outputs:
            params = meant.scales.get(blob)
            guards = stored.scales[blob].scale.size - params.scale.size if params and blob in stored.scales else 0
            if guards:
                found.append(TakenOut("guards", blob, _GUARDS.format(count=guards)))
        if node.name not in kept:
            is_copy = node.outputs[0] in copies
            why = _COPY.format(source=node.inputs[0]) if is_copy else _SHIFT
            found.append(TakenOut("copy" if is_copy else "shift", node.name, why))
    return tuple(found)


_LOWEST, _POOLED = -128, -127


def zero_points(quantized: Graph, fp32: Graph) -> dict[str, np.ndarray]:
    """The codes that mean 0 in the blobs whose file is silent about them, int8 (scales,) by blob.

    Parameters
    ----------
    quantized : Graph
        As in its file.
    fp32 : Graph
        In the form that is quantized.
    """
    originals = {node.name: node for node in fp32.nodes}
    pooled = _before_pooling(quantized)
    found: dict[str, np.ndarray] = {}
    for node in quantized.nodes:
        if not node.outputs or node.outputs[0] not in quantized.scales:
            continue
        blob, count = node.outputs[0], _count(quantized, node.outputs[0])
        if _lost_its_relu(node, originals.get(node.name)):
            found[blob] = np.full(count, _POOLED if blob in pooled else _LOWEST, np.int8)
        elif isinstance(node.layer, Concat) and any(name in found for name in node.inputs):
            parts = [found.get(name, np.zeros(_count(quantized, name), np.int8)) for name in node.inputs]
            found[blob] = np.concatenate(parts)
        elif node.layer.role == QuantRole.PASS and node.inputs[0] in found:
            found[blob] = found[node.inputs[0]]
    return found


def _count(graph: Graph, blob: str) -> int:
    return graph.scales[blob].scale.size if blob in graph.scales else 0


def _lost_its_relu(node: Node, original: Node | None) -> bool:
    if node.layer.role != QuantRole.WEIGHTED or original is None or original.outputs != node.outputs:
        return False
    before, now = (fused_activation(layer) for layer in (original.layer, node.layer))
    return before in (RELU, RELU6) and now == 0


def _before_pooling(graph: Graph) -> set[str]:
    """The int8 blobs that int8 max pooling reads, also by way of a concat."""
    pooled: set[str] = set()
    for node in reversed(graph.nodes):
        if node.quantized and (node.layer.role == QuantRole.PASS or isinstance(node.layer, Concat)):
            if isinstance(node.layer, Concat) and node.outputs[0] not in pooled:
                continue
            pooled.update(node.inputs)
    return pooled


def _settled(
    stored: Graph, copies: Mapping[str, Node], originals: Mapping[str, Node]
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph whose int8 layers read what was copied for them, and the codes that mean 0 in these blobs."""
    if not copies:
        return stored, {}
    zero = {node.inputs[0]: shift_of_copy(node, stored.scales[blob].scale) for blob, node in copies.items()}
    readers = {
        node.name: originals[node.name].layer for node in stored.nodes if node.inputs and node.inputs[0] in copies
    }
    return without_copies(stored, {blob: node.inputs[0] for blob, node in copies.items()}, readers), zero


def without_copies(graph: Graph, copies: Mapping[str, str], readers: Mapping[str, Layer]) -> Graph:
    """The graph without layers that copy a blob: their readers read what was copied, with their own pads.

    Parameters
    ----------
    graph : Graph
    copies : mapping of str to str
        What each copy to be taken out is of, by the name of its blob.
    readers : mapping of str to Layer
        The layers of their readers before they read a copy, by name.
    """
    nodes = []
    for node in graph.nodes:
        if node.outputs and node.outputs[0] in copies:
            continue
        if node.name in readers and node.inputs[0] in copies:
            before, layer = readers[node.name], node.layer
            if isinstance(before, Convolution) and isinstance(layer, Convolution):
                layer = replace(layer, pad_h=before.pad_h, pad_w=before.pad_w, pad_type=before.pad_type)
            node = node.replace(layer=layer, inputs=(copies[node.inputs[0]],))
        nodes.append(node)
    scales = {copies.get(blob, blob): params for blob, params in graph.scales.items()}
    return graph.with_nodes(nodes).replace(scales=scales)


def _copies(node: Node, quantized: Graph, originals: Mapping[str, Node]) -> bool:
    """Whether a layer copies a blob, channel by channel, for the int8 layers that read it."""
    if node.name in originals or node.quantized or border_of(node) is None:
        return False
    blob = node.outputs[0]
    if blob not in quantized.scales or blob in quantized.outputs:
        return False
    readers = quantized.consumers().get(blob, ())
    return all(reader.name in originals and originals[reader.name].inputs[:1] == node.inputs for reader in readers)


def _without_guards(quantized: Graph, originals: Mapping[str, Node], zero: Mapping[str, np.ndarray]) -> Graph:
    """The graph with as many channels as the fp32 model: guards (:mod:`tnnquant.recipes.best.guards`) are the last
    ones."""
    made = {node.outputs[0]: originals[node.name].layer for node in quantized.nodes if node.name in originals}
    channels = {
        blob: layer.output_channel for blob in zero if isinstance(layer := made.get(blob), Convolution)
    }
    scales = {
        blob: params.first(channels[blob]) if blob in channels else params for blob, params in quantized.scales.items()
    }

    def narrow(node: Node) -> Node:
        original = originals.get(node.name)
        if original is None or not {node.outputs[0], *node.inputs} & channels.keys():
            return node
        if not node.quantized:  # it makes values that a shift is part of
            return original if node.outputs[0] in channels else node
        if node.layer.role != QuantRole.WEIGHTED:
            return node
        return _narrowed(node, original)

    return quantized.with_nodes(map(narrow, quantized.nodes)).replace(scales=scales)


def _narrowed(node: Node, original: Node) -> Node:
    layer, before = node.layer, original.layer
    if not isinstance(layer, Convolution) or not isinstance(before, Convolution) or node.resource is None:
        return node
    stored = node.tensors["filter"].data.reshape(layer.output_channel, -1, layer.kernel_h, layer.kernel_w)
    # A group's input channels without the guards among them.
    outputs, inputs = before.output_channel, stored.shape[1] - (layer.input_channel - before.input_channel)
    tensors = {
        name: replace(tensor, data=stored[:outputs, :inputs].reshape(-1) if name == "filter" else tensor.data[:outputs])
        for name, tensor in node.tensors.items()
    }
    layer = replace(layer, input_channel=before.input_channel, output_channel=before.output_channel)
    return node.replace(layer=layer, resource=replace(node.resource, tensors=tensors))


def _without_shifts(graph: Graph, originals: Mapping[str, Node], zero: Mapping[str, np.ndarray]) -> Graph:
    """The graph without the layers that undo a shift after average pooling (:mod:`tnnquant.recipes.best.unshift`)."""
    pooled = {
        node.outputs[0]: node
        for node in graph.nodes
        if not node.quantized and isinstance(node.layer, Pooling) and node.inputs[0] in zero
    }
    undone = {
        node.inputs[0]: node.outputs
        for node in graph.nodes
        if node.name not in originals and node.inputs and node.inputs[0] in pooled
    }
    nodes = [
        node.replace(outputs=undone.get(node.outputs[0], node.outputs))
        for node in graph.nodes
        if node.name in originals or not node.inputs or node.inputs[0] not in undone
    ]
    return graph.with_nodes(nodes)


def _restored(node: Node, original: Node | None, scales: Mapping[str, QuantParams], zero: Mapping) -> Node:
    source, target = node.inputs[0] if node.inputs else "", node.outputs[0]
    if not node.quantized or node.layer.role != QuantRole.WEIGHTED or not (source in zero or target in zero):
        return node
    if node.resource is None:
        return node
    step = node.tensors["scale"].float32().astype(np.float64)
    bias = node.tensors["bias"].data.astype(np.int64) if "bias" in node.tensors else np.zeros(1, np.int64)
    layer = node.layer
    if source in zero:
        bias = bias + bias_of_codes(node, zero[source])
    if target in zero:
        shift = zero[target].astype(np.float64) * scales[target].scale
        with np.errstate(divide="ignore", invalid="ignore"):
            bias = bias - np.nan_to_num(np.rint(shift / step), posinf=0, neginf=0).astype(np.int64)
        # TNN's int8 ReLU6 ignores zero points; the largest code cuts off at 6 as well.
        if original is not None and fused_activation(original.layer) == RELU:
            layer = layer.expect(FusesActivation).with_activation(RELU)
    limit = np.iinfo(np.int32)
    stored = Tensor(np.clip(bias, limit.min, limit.max).astype(np.int32), (), node.tensors["bias"].dtype)
    resource = replace(node.resource, tensors={**node.tensors, "bias": stored})
    return node.replace(layer=layer, resource=resource)
