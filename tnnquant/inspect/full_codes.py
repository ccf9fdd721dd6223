"""int8 models that use all 256 codes behind a ReLU, as the recipe ``best`` makes them.

Their files say zero point 0 for every blob, but in some the code that means 0 is -128 (-127 where max pooling follows;
:mod:`tnnquant.recipes.best.full_range`): a convolution that has a ReLU in fp32 and none in the int8 model tells. Where
a shifted copy is read (:mod:`tnnquant.recipes.best.shifted_copies`), its bias does. Here such a model becomes one with
zero points, whose blobs mean what they say, without the guard channels, the copies and the layers that make up for the
shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tnnquant.base.tensor import QuantParams, Tensor
from tnnquant.graph import Graph, Node
from tnnquant.layers.base import QuantRole
from tnnquant.layers.convolution import Convolution
from tnnquant.recipes.best.shifted_copies import Copies

__all__ = ["with_zero_points", "zero_points"]

RELU, RELU6 = 1, 2
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
        elif node.layer.JOINS_CHANNELS and any(name in found for name in node.inputs):
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
    before, now = (getattr(layer, "activation_type", 0) for layer in (original.layer, node.layer))
    return before in (RELU, RELU6) and now == 0


def _before_pooling(graph: Graph) -> set[str]:
    """The int8 blobs that int8 max pooling reads, also by way of a concat."""
    pooled: set[str] = set()
    for node in reversed(graph.nodes):
        if node.quantized and (node.layer.role == QuantRole.PASS or node.layer.JOINS_CHANNELS):
            if node.layer.JOINS_CHANNELS and node.outputs[0] not in pooled:
                continue
            pooled.update(node.inputs)
    return pooled


def with_zero_points(quantized: Graph, fp32: Graph) -> Graph:
    """The same model with the zero points of :func:`zero_points`; itself if there are none.

    Biases are those of the model before they were lowered, so that every layer by itself gives, up to the rounding of a
    bias, the same codes.
    """
    originals = {node.name: node for node in fp32.nodes}
    quantized, copied = _without_copies(quantized, originals)
    zero = zero_points(quantized, fp32) | copied
    if not zero:
        return quantized
    scales = {
        blob: QuantParams(params.scale, zero[blob]) if blob in zero else params
        for blob, params in quantized.scales.items()
    }
    nodes = [_restored(node, originals.get(node.name), scales, zero) for node in quantized.nodes]
    restored = quantized.with_nodes(nodes).replace(scales=scales)
    return _without_shifts(_without_guards(restored, originals, zero), originals, zero)


def _without_copies(quantized: Graph, originals: Mapping[str, Node]) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph whose int8 layers read what was copied for them, and the codes that mean 0 in these blobs."""
    copies = {node.outputs[0]: node for node in quantized.nodes if _copies(node, quantized, originals)}
    if not copies:
        return quantized, {}
    zero = {node.inputs[0]: _shift(node, quantized.scales[blob].scale) for blob, node in copies.items()}
    readers = {
        node.name: originals[node.name].layer for node in quantized.nodes if node.inputs and node.inputs[0] in copies
    }
    made = Copies({blob: node.inputs[0] for blob, node in copies.items()}, readers)
    return made.settled(quantized, {}), zero


def _copies(node: Node, quantized: Graph, originals: Mapping[str, Node]) -> bool:
    """Whether a layer copies a blob, channel by channel, for the int8 layers that read it."""
    if node.name in originals or node.quantized or not isinstance(node.layer, Convolution):
        return False
    blob = node.outputs[0]
    if blob not in quantized.scales or blob in quantized.outputs or not node.layer.depthwise_1x1:
        return False
    readers = quantized.consumers().get(blob, ())
    return all(reader.name in originals and originals[reader.name].inputs[:1] == node.inputs for reader in readers)


def _shift(copy: Node, scale: np.ndarray) -> np.ndarray:
    """The codes that mean 0 in a copy, int8 (C,)."""
    bias = copy.tensors["bias"].float32().astype(np.float64)
    steps = np.rint(bias / np.where(scale > 0, scale, 1))
    return np.clip(steps, _LOWEST, 127).astype(np.int8)


def _without_guards(quantized: Graph, originals: Mapping[str, Node], zero: Mapping[str, np.ndarray]) -> Graph:
    """The graph with as many channels as the original: guards (:mod:`tnnquant.recipes.best.guards`) are the last
    ones."""
    made = {node.outputs[0]: originals[node.name] for node in quantized.nodes if node.name in originals}
    channels = {
        blob: made[blob].layer.output_channel
        for blob in zero
        if blob in made and hasattr(made[blob].layer, "output_channel")
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
    if not hasattr(node.layer, "input_channel"):
        return node
    outputs, inputs = original.layer.weight_array(original.tensors).shape[:2]
    stored = node.tensors["filter"].data.reshape(node.layer.output_channel, -1, *node.layer.weight_shape(1)[2:])
    tensors = {
        name: replace(tensor, data=stored[:outputs, :inputs].reshape(-1) if name == "filter" else tensor.data[:outputs])
        for name, tensor in node.tensors.items()
    }
    layer = replace(
        node.layer, input_channel=original.layer.input_channel, output_channel=original.layer.output_channel
    )
    return node.replace(layer=layer, resource=replace(node.resource, tensors=tensors))


def _without_shifts(graph: Graph, originals: Mapping[str, Node], zero: Mapping[str, np.ndarray]) -> Graph:
    """The graph without the layers that undo a shift behind average pooling (:mod:`tnnquant.recipes.best.unshift`)."""
    pooled = {
        node.outputs[0]: node
        for node in graph.nodes
        if not node.quantized and hasattr(node.layer, "pool_type") and node.inputs[0] in zero
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
    name = "filter" if "filter" in node.tensors else "weight"
    step = node.tensors["scale"].float32().astype(np.float64)
    bias = node.tensors["bias"].data.astype(np.int64) if "bias" in node.tensors else np.zeros(1, np.int64)
    layer = node.layer
    if source in zero:
        bias = bias + _products(node.tensors[name], zero[source], layer)
    if target in zero:
        shift = zero[target].astype(np.float64) * scales[target].scale
        with np.errstate(divide="ignore", invalid="ignore"):
            bias = bias - np.nan_to_num(np.rint(shift / step), posinf=0, neginf=0).astype(np.int64)
        # TNN's int8 ReLU6 ignores zero points; the largest code cuts off at 6 as well.
        if original is not None and original.layer.activation_type == RELU:
            layer = replace(layer, activation_type=RELU)
    limit = np.iinfo(np.int32)
    stored = Tensor(np.clip(bias, limit.min, limit.max).astype(np.int32), (), node.tensors["bias"].dtype)
    resource = replace(node.resource, tensors={**node.tensors, "bias": stored})
    return node.replace(layer=layer, resource=resource)


def _products(weight: Tensor, zero: np.ndarray, layer) -> np.ndarray:
    """Sums of weights times the zero points of the input channels they meet, int64 (OC,)."""
    groups, count = getattr(layer, "group", 1), getattr(layer, "output_channel", 0) or layer.num_output
    each = zero.size // groups if zero.size > 1 else 1
    rows = weight.data.astype(np.int64).reshape(groups, count // groups, each, -1).sum(axis=3)
    return (rows * zero.astype(np.int64).reshape(-1 if zero.size > 1 else 1, 1, each)).sum(axis=2).reshape(-1)
