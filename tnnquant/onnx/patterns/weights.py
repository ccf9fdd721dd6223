"""Factors and summands per channel go into the weights before them: batch norms, products and sums with constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tnnquant.base.names import unused_name
from tnnquant.base.tensor import Tensor
from tnnquant.graph import Graph, Node, Resource
from tnnquant.layers.batch_norm import BatchNorm
from tnnquant.layers.binary import Add, Div, Mul, Sub
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.convolution_nd import Convolution1D, Convolution3D
from tnnquant.layers.deconvolution import Deconvolution
from tnnquant.layers.inner_product import InnerProduct
from tnnquant.layers.matmul import MatMul
from tnnquant.layers.reshape import Reshape
from tnnquant.layers.weighted import FusesActivation
from tnnquant.onnx.patterns.net import Net, new_node

__all__ = ["fold_affine", "merge_affine", "share_products"]

#: Weights that more inner products than this read are stored once, in a constant that matrix products read. A
#: recurrence exported step by step has as many as steps; the branches of a siamese network keep their int8 layers.
_MOST_COPIES = 3
_CONVOLUTIONS = (Convolution, Convolution1D, Convolution3D, Deconvolution)


def fold_affine(net: Net) -> None:
    """Into convolutions and inner products, through a Reshape that keeps the last axis where need be."""
    for node in list(net.nodes):
        if node is None or not node.inputs:
            continue
        found = net.private_maker(node.inputs[0], *_CONVOLUTIONS, InnerProduct, Reshape)
        if found is None:
            continue
        weighted, between, axis = found, None, 1
        if isinstance(found.layer, Reshape):
            inner = net.private_maker(found.inputs[0], InnerProduct)
            last = net.dims[found.outputs[0]][-1:]
            if inner is None or last != net.dims[inner.outputs[0]][-1:]:
                continue
            weighted, between, axis = inner, found, len(net.dims[found.outputs[0]]) - 1
        if isinstance(weighted.layer, FusesActivation) and weighted.layer.activation_type:
            continue
        channels = net.dims[weighted.outputs[0]][1]
        terms = _affine(net, node, channels, len(net.dims[node.inputs[0]]), axis)
        if terms is None or net.dims[node.outputs[0]] != net.dims[node.inputs[0]]:
            continue
        changed = _scaled(weighted, channels, *terms)
        if between is None:
            net.take_over(weighted, node, layer=changed.layer, resource=changed.resource)
        else:
            net.replace(weighted, changed)
            net.take_over(between, node)


def _affine(net: Net, node: Node, channels: int, rank: int, axis: int) -> tuple[np.ndarray, np.ndarray] | None:
    """k and b, float64 (channels,), of a layer that computes ``x * k[c] + b[c]``."""
    one, zero = np.ones(channels), np.zeros(channels)
    if isinstance(node.layer, BatchNorm) and axis == 1:
        k, b = (node.tensors[name].float32().astype(np.float64) for name in ("scale", "bias"))
        return np.broadcast_to(k, (channels,)), np.broadcast_to(b, (channels,))
    found = net.element(node)
    if found is None:
        return None
    element, position = found
    dims = (1,) * (rank - element.ndim) + element.shape
    if len(dims) != rank or any(d != 1 for k, d in enumerate(dims) if k != axis) or dims[axis] not in (1, channels):
        return None
    values = np.broadcast_to(element.reshape(-1).astype(np.float64), (channels,))
    match node.layer, position:
        case Mul(), _:
            return values, zero
        case Add(), _:
            return one, values
        case Sub(), 1:
            return one, -values
        case Sub(), 0:
            return -one, values
        case Div(), 1 if np.all(values != 0):
            return 1 / values, zero
    return None


def _scaled(node: Node, channels: int, k: np.ndarray, b: np.ndarray) -> Node:
    """The weighted layer with its outputs times ``k``, plus ``b``."""
    name = "weight" if isinstance(node.layer, InnerProduct) else "filter"
    stored = node.tensors[name]
    weight = stored.float32()
    if not np.all(k == 1):
        wide = weight.astype(np.float64)
        if isinstance(node.layer, Deconvolution):
            # (groups, C/G, OC/G, ...)
            groups = node.layer.group
            shape = (groups, -1, channels // groups, node.layer.kernel_h * node.layer.kernel_w)
            wide = wide.reshape(shape) * k.reshape(groups, 1, channels // groups, 1)
        else:
            wide = wide.reshape(channels, -1) * k[:, None]
        weight = wide.astype(np.float32).reshape(-1)
    old = node.tensors.get("bias")
    bias = np.zeros(channels) if old is None or not old.size else old.float32().astype(np.float64)
    bias = (bias * k + b).astype(np.float32)
    dims = old.dims if old is not None and old.size else (channels,)
    tensors = {**node.tensors, name: Tensor(weight, stored.dims), "bias": Tensor(bias, dims)}
    flag = "has_bias" if isinstance(node.layer, InnerProduct) else "bias"
    layer = replace(node.layer, **{flag: 1})
    return node.replace(layer=layer, resource=Resource(tensors, type_string=node.type_string))


def merge_affine(net: Net) -> None:
    """A product and a sum with constants per channel become one BatchNormCxx; two of those become one."""
    for node in list(net.nodes):
        if node is None or not node.inputs or len(net.dims[node.inputs[0]]) < 2:
            continue
        first = net.private_maker(node.inputs[0], Mul, Div, Add, Sub, BatchNorm)
        if first is None or len(first.inputs) != 1 or net.dims[first.inputs[0]] != net.dims[node.outputs[0]]:
            continue
        dims = net.dims[first.inputs[0]]
        inner, outer = (_affine(net, n, dims[1], len(dims), 1) for n in (first, node))
        if inner is None or outer is None:
            continue
        k, b = outer[0] * inner[0], outer[0] * inner[1] + outer[1]
        net.remove(first)
        net.replace(node, new_node("BatchNormCxx", node, first.inputs, (), {"scale": k, "bias": b}))


def share_products(graph: Graph) -> Graph:
    """Inner products that read the same weights, as matrix products of one constant."""
    readers: dict[tuple[int, tuple[int, int]], list[Node]] = {}
    for node in graph.nodes:
        if isinstance(node.layer, InnerProduct):
            readers.setdefault(_place(node), []).append(node)
    shared = {place: nodes for place, nodes in readers.items() if len(nodes) > _MOST_COPIES}
    if not shared:
        return graph
    taken = {*graph.blob_names(), *(node.name for node in graph.nodes)}

    def fresh(wanted: str) -> str:
        name = unused_name(wanted, taken)
        taken.add(name)
        return name

    constants = dict(graph.constants)
    names = {}
    for place, (first, *_) in shared.items():
        name = names[place] = fresh(f"{first.name}_weights")
        matrix = np.ascontiguousarray(first.tensors["weight"].data.reshape(place[1]).T)
        constants[name] = Tensor(matrix.reshape(-1), matrix.shape)
    nodes: list[Node] = []
    for node in graph.nodes:
        name = names.get(_place(node), "") if isinstance(node.layer, InnerProduct) else ""
        if not name:
            nodes.append(node)
            continue
        bias = node.tensors.get("bias")
        has_bias = bias is not None and bias.size > 0
        target = fresh(f"{node.outputs[0]}_product") if has_bias else node.outputs[0]
        product = node.name if not has_bias else fresh(f"{node.name}_product")
        nodes.append(Node(product, "MatMul", MatMul(weight_position=-1), (node.inputs[0], name), (target,)))
        if bias is not None and has_bias:
            summand = Resource({"element": Tensor(bias.float32(), (1, bias.size))}, {}, "Add")
            nodes.append(Node(node.name, "Add", Add(weight_input_index=1), (target,), node.outputs, summand))
    return graph.replace(nodes=tuple(nodes), constants=constants)


def _place(node: Node) -> tuple[int, tuple[int, int]]:
    """Where the weights of an inner product lie in memory, and how many rows and columns they have."""
    data = node.tensors["weight"].data
    count = node.layer.expect(InnerProduct).num_output
    return data.__array_interface__["data"][0], (count, data.size // max(count, 1))
