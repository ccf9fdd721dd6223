"""Normalizations that an exporter wrote as arithmetic: LayerNorm, and the L2 norm of the channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.graph import Node
from tnnquant.layers.binary import Add, Div, Maximum, Mul, Sub
from tnnquant.layers.clip import Clip
from tnnquant.layers.expand import Expand
from tnnquant.layers.power import Power
from tnnquant.layers.reduce import ReduceL2, ReduceMean
from tnnquant.layers.unary import Sqrt
from tnnquant.onnx.patterns.activations import reader
from tnnquant.onnx.patterns.net import Net, new_node

__all__ = ["find_layer_norm", "find_normalize"]


def find_layer_norm(net: Net, constants: dict[str, Tensor]) -> None:
    """``(x - mean) / sqrt(mean((x - mean)^2) + eps) * scale + bias`` over the last axes."""
    for quotient in list(net.nodes):
        if quotient is None or not isinstance(quotient.layer, Div) or len(quotient.inputs) != 2:
            continue
        centred, root = net.maker(quotient.inputs[0], Sub), net.private_maker(quotient.inputs[1], Sqrt)
        if centred is None or root is None or len(centred.inputs) != 2:
            continue
        x, mean_blob = centred.inputs
        mean = net.private_maker(mean_blob, ReduceMean)
        if mean is None or mean.inputs != (x,) or not isinstance(mean.layer, ReduceMean) or not mean.layer.keep_dims:
            continue
        plus = net.private_maker(root.inputs[0], Add)
        eps = net.scalar(plus, Add)
        variance = net.private_maker(plus.inputs[0], ReduceMean) if plus is not None and eps else None
        if plus is None or variance is None or variance.layer != mean.layer:
            continue
        square = net.private_maker(variance.inputs[0], Mul, Power)
        if square is None or set(square.inputs) != {centred.outputs[0]} or not _is_square(square):
            continue
        readers = net.readers(centred.outputs[0])
        if centred.outputs[0] in net.outputs or {id(n) for n in readers} != {id(square), id(quotient)}:
            continue
        rank = len(net.dims[x])
        axes = sorted(a % rank for a in mean.layer.axes) or list(range(rank))
        if axes != list(range(axes[0], rank)) or eps is None:
            continue
        dims = net.dims[x][axes[0] :]
        last, scale, bias = _scale_and_bias(net, quotient, dims)
        names = []
        for what, values in (("scale", scale), ("bias", bias)):
            name = f"{last.name}_{what}"
            while name in constants or name in net.dims:
                name += "_"
            constants[name] = Tensor(np.ascontiguousarray(values, np.float32).reshape(-1), tuple(dims))
            names.append(name)
        gone = [mean, centred, square, variance, plus, root]
        between = quotient
        while between is not last:
            gone.append(between)
            between = net.readers(between.outputs[0])[0]
        for node in gone:
            net.remove(node)
        net.replace(last, new_node("LayerNorm", last, (x, *names), (len(dims), float(eps))))


def _is_square(node: Node) -> bool:
    if isinstance(node.layer, Mul):
        return len(node.inputs) == 2
    layer = node.layer
    return isinstance(layer, Power) and (layer.exponent, layer.scale, layer.shift) == (2, 1, 0)


def _scale_and_bias(net: Net, quotient: Node, dims: Sequence[int]) -> tuple[Node, np.ndarray, np.ndarray]:
    """The product and the sum after, if they are by constants of these dims."""
    last, scale, bias = quotient, np.ones(dims), np.zeros(dims)
    product = reader(net, quotient, Mul)
    values = _fitting(net, product, dims)
    if product is not None and values is not None:
        last, scale = product, values
    plus = reader(net, last, Add)
    values = _fitting(net, plus, dims)
    if plus is not None and values is not None:
        last, bias = plus, values
    return last, scale, bias


def _fitting(net: Net, node: Node | None, dims: Sequence[int]) -> np.ndarray | None:
    found = None if node is None else net.element(node)
    if found is None:
        return None
    element = found[0].reshape([d for k, d in enumerate(found[0].shape) if k >= found[0].ndim - len(dims)] or [1])
    if element.size != found[0].size:
        return None
    try:
        return np.broadcast_to(element, dims)
    except ValueError:
        return None


def find_normalize(net: Net) -> None:
    """``x / max(norm of the channels, eps)``, one image at a time: TNN does not clear its sums between images."""
    for quotient in list(net.nodes):
        if quotient is None or not isinstance(quotient.layer, Div) or len(quotient.inputs) != 2:
            continue
        x, norm = quotient.inputs
        expand = net.private_maker(norm, Expand)
        bound = net.private_maker(expand.inputs[0] if expand else norm, Clip, Maximum)
        if bound is None:
            continue
        eps = bound.layer.min if isinstance(bound.layer, Clip) else net.scalar(bound, Maximum)
        if isinstance(bound.layer, Clip) and bound.layer.max < 3e38:
            continue
        length = net.private_maker(bound.inputs[0], ReduceL2)
        dims = net.dims[x]
        if length is None or not isinstance(length.layer, ReduceL2) or not length.layer.keep_dims:
            continue
        if not eps or length.inputs != (x,) or dims[0] != 1:
            continue
        if [a % len(dims) for a in length.layer.axes] != [1]:
            continue
        for node in (length, bound, expand):
            if node is not None:
                net.remove(node)
        net.replace(quotient, new_node("Normalize", quotient, (x,), (0, float(eps), 1, 1, 2)))
