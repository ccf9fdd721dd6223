"""Factors and summands a channel go into the weights before them: batch norms, and products and sums with constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.graph import Node, Resource
from tnnquant.layers.deconvolution import Deconvolution
from tnnquant.onnx.patterns.net import Net, new_node

__all__ = ["fold_affine", "merge_affine"]

_CONVOLUTIONS = ("Convolution", "Convolution1D", "Convolution3D", "Deconvolution")


def fold_affine(net: Net) -> None:
    """Into convolutions and inner products, through a Reshape that keeps the last axis where need be."""
    for node in list(net.nodes):
        if node is None or not node.inputs:
            continue
        found = net.private_maker(node.inputs[0], *_CONVOLUTIONS, "InnerProduct", "Reshape")
        if found is None:
            continue
        weighted, between, axis = found, None, 1
        if found.type_string == "Reshape":
            inner = net.private_maker(found.inputs[0], "InnerProduct")
            last = net.dims[found.outputs[0]][-1:]
            if inner is None or last != net.dims[inner.outputs[0]][-1:]:
                continue
            weighted, between, axis = inner, found, len(net.dims[found.outputs[0]]) - 1
        if getattr(weighted.layer, "activation_type", 0):
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
    if node.type_string == "BatchNormCxx" and axis == 1:
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
    match node.type_string, position:
        case "Mul", _:
            return values, zero
        case "Add", _:
            return one, values
        case "Sub", 1:
            return one, -values
        case "Sub", 0:
            return -one, values
        case "Div", 1 if np.all(values != 0):
            return 1 / values, zero
    return None


def _scaled(node: Node, channels: int, k: np.ndarray, b: np.ndarray) -> Node:
    """The weighted layer with its outputs times ``k``, plus ``b``."""
    name = "weight" if node.type_string == "InnerProduct" else "filter"
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
    flag = "has_bias" if node.type_string == "InnerProduct" else "bias"
    layer = replace(node.layer, **{flag: 1})
    return node.replace(layer=layer, resource=Resource(tensors, type_string=node.type_string))


def merge_affine(net: Net) -> None:
    """A product and a sum with constants a channel become one BatchNormCxx; two of those become one."""
    for node in list(net.nodes):
        if node is None or not node.inputs or len(net.dims[node.inputs[0]]) < 2:
            continue
        first = net.private_maker(node.inputs[0], "Mul", "Div", "Add", "Sub", "BatchNormCxx")
        if first is None or len(first.inputs) != 1 or net.dims[first.inputs[0]] != net.dims[node.outputs[0]]:
            continue
        dims = net.dims[first.inputs[0]]
        inner, outer = (_affine(net, n, dims[1], len(dims), 1) for n in (first, node))
        if inner is None or outer is None:
            continue
        k, b = outer[0] * inner[0], outer[0] * inner[1] + outer[1]
        net.remove(first)
        net.replace(node, new_node("BatchNormCxx", node, first.inputs, (), {"scale": k, "bias": b}))
