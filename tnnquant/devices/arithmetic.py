"""A model as a device computes it: the layers that round otherwise, and those whose results are garbage there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams
from tnnquant.devices.conditions import Net
from tnnquant.devices.findings import findings, shapes_of
from tnnquant.devices.rules import Outcome
from tnnquant.graph import Graph, Node
from tnnquant.graph.passes import fuse_activations, fuse_swish
from tnnquant.layers.base import BlobSpec, Layer
from tnnquant.layers.device_f32 import as_on_device
from tnnquant.layers.halves import Int8Half

__all__ = ["garbage_on", "on_device"]

#: Rules whose outcome is computed as the device does.
_EXACT = frozenset({"zero point", "unequal dilations", "weight of -128", "window in the padding"})
#: Rules by which the first picture of a batch comes out right.
_FIRST = frozenset({"int8 add of a batch", "1x1 of a batch"})
#: The rule of what an int8 layer leaves to a convolution that reads it later.
_BORDER = "int8 border"


def on_device(
    lowered: Graph, stored: Graph, device: str, input_dims: Mapping[str, Sequence[int]] | None, *, high_precision: bool
) -> Graph:
    """A graph as TNN's ARM or x86 device runs it: its arithmetic, no zero points, garbage where it makes some.

    Parameters
    ----------
    lowered : Graph
        As it is executed.
    stored : Graph
        As it was read.
    device : {"arm", "x86"}
    input_dims : mapping of str to sequence of int or None
        Dims that replace those of the proto.
    high_precision : bool
        With PRECISION_HIGH.
    """
    garbage = garbage_on(stored, device, input_dims)
    if device == "arm":
        lowered = fuse_swish(fuse_activations(lowered))
    scales = {blob: _symmetric(params) for blob, params in lowered.scales.items()}
    nodes = [_node_on(device, node, garbage, high_precision) for node in lowered.nodes]
    return replace(lowered.with_nodes(nodes), scales=scales)


def garbage_on(graph: Graph, device: str, input_dims: Mapping[str, Sequence[int]] | None = None) -> dict[str, int]:
    """The blobs that hold garbage on a device, by its rules, and from which picture of a batch on."""
    inference = shapes_of(graph, input_dims)
    net = Net(inference.graph, inference.specs, inference.graph.is_quantized)
    nodes = {node.name: node for node in inference.graph.nodes}
    found: dict[str, int] = {}
    for finding in findings(inference.graph, inference.specs, device):
        if finding.outcome is not Outcome.WRONG or finding.rule in _EXACT:
            continue
        made: Sequence[str] = nodes[finding.layer].outputs
        if finding.rule == _BORDER:
            made = [blob for source in made for node in net.convolutions_after(source) for blob in node.outputs]
        for blob in made:
            found[blob] = min(found.get(blob, 1), 1 if finding.rule in _FIRST else 0)
    return found


def _symmetric(params: QuantParams) -> QuantParams:
    return replace(params, zero_point=np.zeros_like(params.zero_point)) if np.any(params.zero_point) else params


def _node_on(device: str, node: Node, garbage: Mapping[str, int], high: bool) -> Node:
    layer = as_on_device(
        node.layer, node.tensors, device, quantized=node.quantized, inputs=len(node.inputs), high=high
    )
    marked = [garbage[blob] for blob in node.outputs if blob in garbage]
    if marked:
        layer = layer.as_kind(_garbage_class(type(layer), min(marked)))
    node = node.replace(layer=layer)
    stored = node.tensors.get("zero_point")
    if node.resource is not None and stored is not None and np.any(stored.data):
        tensors = {**node.resource.tensors, "zero_point": replace(stored, data=np.zeros_like(stored.data))}
        node = node.replace(resource=replace(node.resource, tensors=tensors))
    return node


class _Garbage(Layer):
    """Mixin: from picture ``FIRST`` of a batch on, results are NaN, the code -128, or the number 0."""

    FIRST = 0

    def emit(self, inputs: Any, outputs: Any, state: Any) -> np.ndarray | None:
        return None

    def absorbed(self, following: Layer, state: Any) -> Layer | None:
        return None

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [_spoilt(x, self.FIRST) for x in super().forward(inputs, state)]


class _GarbageInt8(Int8Half[Layer]):
    """Mixin: the same of an int8 form."""

    FIRST = 0

    def emit(self, inputs: Any, outputs: Any, state: Any, keep: list) -> np.ndarray | None:
        return None

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        return [_spoilt(x, self.FIRST) for x in super().forward(inputs, outputs, state)]


def _spoilt(x: np.ndarray, first: int) -> np.ndarray:
    x = np.array(x)
    x[first:] = {np.dtype(np.float32): np.nan, DataType.INT8.numpy: -128}.get(x.dtype, 0)
    return x


def _garbage_class(kind: type[Layer], first: int) -> type[Layer]:
    content: dict[str, Any] = {"FIRST": first}
    form = kind.INT8
    if form is not None:
        content["INT8"] = type(f"Garbage{form.__name__}", (_GarbageInt8, form), {"FIRST": first})
    return type(f"Garbage{kind.__name__}", (_Garbage, kind), content)
