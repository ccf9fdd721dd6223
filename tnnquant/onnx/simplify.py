"""Passes over the converted graph: what nothing reads goes, and what TNN has a better layer for becomes that layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.graph import Graph, Node, Resource
from tnnquant.layers.activation import Swish
from tnnquant.layers.batch_norm import BatchNorm
from tnnquant.layers.clip import Relu, Relu6
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.deconvolution import Deconvolution
from tnnquant.layers.inner_product import InnerProduct
from tnnquant.layers.matmul import MatMul
from tnnquant.layers.moment_norm import InstanceNorm
from tnnquant.onnx.patterns import activations, layout, norms, weights
from tnnquant.onnx.patterns.net import Net

__all__ = ["simplify"]

Dims = Mapping[str, tuple[int, ...]]

#: In this order: a later pass may change what an earlier one made.
PASSES: tuple[Callable[[Net], None], ...] = (
    layout.merge_moves,
    layout.find_shuffle,
    layout.find_reorg,
    layout.merge_pads,
    activations.find_hard_sigmoid,
    activations.find_hard_swish,
    activations.find_swish,
    activations.find_gelu,
    norms.find_normalize,
    weights.fold_affine,
    weights.fold_affine,
    weights.merge_affine,
    layout.find_global_maximum,
    layout.drop_reshapes,
)

#: Layers whose weights TNN widens when it loads them (Convolution1D and 3D are not among them).
_HALF = {
    Convolution: ("filter", "bias"), Deconvolution: ("filter", "bias"), InnerProduct: ("weight", "bias"),
    BatchNorm: ("scale", "bias"), InstanceNorm: ("scale", "bias"), MatMul: ("weight",),
}  # fmt: skip


def simplify(graph: Graph, dims: Dims, *, half: bool = False, keep_products: bool = False) -> Graph:
    """The graph after all passes; the outputs stay what they are.

    Parameters
    ----------
    graph : Graph
    dims : mapping of str to tuple of int
        Of every blob.
    half : bool
        Store weights as float16.
    keep_products : bool
        Leave inner products what they are, each with weights of its own.
    """
    graph = without_unread(graph)
    constants = dict(graph.constants)
    net = Net(graph, dims)
    norms.find_layer_norm(net, constants)
    graph = without_unread(net.result().replace(constants=constants))
    for change in PASSES:
        net = Net(graph, dims)
        change(net)
        graph = net.result()
    graph = without_unread(_activations_first(graph))
    graph = graph if keep_products else weights.share_products(graph)
    return _halved(graph) if half else graph


def without_unread(graph: Graph) -> Graph:
    """Without layers and constants on which no model output depends."""
    read = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if any(blob in read for blob in node.outputs):
            kept.append(node)
            read.update(node.inputs)
    constants = {name: tensor for name, tensor in graph.constants.items() if name in read}
    return Graph(graph.inputs, graph.outputs, tuple(reversed(kept)), constants, graph.scales)


def _activations_first(graph: Graph) -> Graph:
    """Activations right after the convolutions whose outputs they read: TNN fuses by the order of the layers."""
    followers = {
        node.inputs[0]: node
        for node in graph.nodes
        if isinstance(node.layer, (Relu, Relu6, Swish)) and len(node.inputs) == 1
    }
    made = {blob for node in graph.nodes if isinstance(node.layer, Convolution) for blob in node.outputs}
    moved = {id(node) for blob, node in followers.items() if blob in made}
    nodes: list[Node] = []
    for node in graph.nodes:
        if id(node) in moved:
            continue
        nodes.append(node)
        follower = followers.get(node.outputs[0])
        if follower is not None and id(follower) in moved:
            nodes.append(follower)
    return graph.replace(nodes=tuple(nodes))


def _halved(graph: Graph) -> Graph:
    """Weights as float16, as TNN's converter stores them: those of layers that widen them, not the operands of
    arithmetic."""
    limit = float(np.finfo(np.float16).max)

    def halved(node: Node) -> Node:
        if type(node.layer) not in _HALF or node.resource is None:
            return node
        tensors = dict(node.tensors)
        for name in _HALF[type(node.layer)]:
            tensor = tensors.get(name)
            if tensor is not None and tensor.size and tensor.dtype == DataType.FLOAT:
                data = np.clip(tensor.data, -limit, limit).astype(np.float16)
                tensors[name] = Tensor(data, tensor.dims, DataType.HALF)
        return node.replace(resource=Resource(tensors, node.resource.extras, node.resource.type_string))

    return graph.replace(nodes=tuple(halved(node) for node in graph.nodes))
