"""Factors and summands per channel, normalization by moments and norms, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tnnquant.graph import Node
from tnnquant.layers.channelwise import Channelwise
from tnnquant.layers.lrn import Lrn
from tnnquant.layers.moment_norm import GroupNorm, InstanceNorm, LayerNorm
from tnnquant.layers.movement import INT_MAX
from tnnquant.layers.normalize import Normalize
from tnnquant.layers.softmax import AlongAxis
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.layers.reduction import reduced
from tnnquant.onnx.export.registry import exports

__all__: list[str] = []


def _channel_constant(b: Builder, values: np.ndarray, rank: int, name: str) -> str:
    """One value per channel, or one for all, shaped for a blob of that rank."""
    return b.constant(values.reshape(values.size, *(1,) * max(rank - 2, 0)), name)


@exports("BatchNormCxx", "Scale")
def affine(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """x * scale[c] + bias[c]."""
    layer = node.layer.expect(Channelwise)
    dims = b.dims(node.inputs[0])
    scale, bias = layer.values(node.tensors, dims[1] if len(dims) > 1 else 1)
    product = b.op("Mul", x[0], _channel_constant(b, scale, len(dims), "scale"), to=None if bias.any() else y[0])
    if bias.any():
        b.op("Add", product, _channel_constant(b, bias, len(dims), "bias"), to=y[0])


@exports("InstBatchNormCxx")
def instance_norm(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """InstanceNormalization, of at least three dims."""
    layer = node.layer.expect(InstanceNorm)
    dims = b.dims(node.inputs[0])
    scale, bias = (np.broadcast_to(v, dims[1]) for v in layer.prepare(node.tensors, [b.specs[node.inputs[0]]]))
    source = x[0] if len(dims) > 2 else b.reshape(x[0], (*dims, 1))
    made = b.op(
        "InstanceNormalization", source, b.constant(scale, "scale"), b.constant(bias, "bias"), epsilon=layer.eps,
        to=y[0] if len(dims) > 2 else None,
    )  # fmt: skip
    if len(dims) < 3:
        b.reshape(made, dims, to=y[0])


@exports("GroupNorm")
def group_norm(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Groups as the channels of an InstanceNormalization: ONNX's own operator changed its meaning in opset 21."""
    layer = node.layer.expect(GroupNorm)
    dims = b.dims(node.inputs[0])
    groups = layer.group
    one, zero = b.constant(np.ones(groups, np.float32)), b.constant(np.zeros(groups, np.float32))
    rows = b.reshape(x[0], (dims[0], groups, -1))
    normal = b.reshape(b.op("InstanceNormalization", rows, one, zero, epsilon=layer.eps), dims)
    shape = (dims[1], *(1,) * (len(dims) - 2))
    scale, bias = (b.reshape(name, shape) for name in x[1:3])
    b.op("Add", b.op("Mul", normal, scale), bias, to=y[0])


@exports("LayerNorm")
def layer_norm(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """LayerNormalization from opset 17 on, else its parts."""
    layer = node.layer.expect(LayerNorm)
    dims = b.dims(node.inputs[0])
    count = layer.reduce_dims_size
    shape = dims[len(dims) - count :]
    scale, bias = (
        name if b.dims(blob) == shape else b.reshape(name, shape)
        for name, blob in zip(x[1:3], node.inputs[1:3], strict=True)
    )
    if b.opset >= 17:
        b.op("LayerNormalization", x[0], scale, bias, to=y[0], axis=len(dims) - count, epsilon=layer.eps)
        return
    axes = range(len(dims) - count, len(dims))
    centred = b.op("Sub", x[0], reduced(b, "ReduceMean", x[0], axes))
    variance = reduced(b, "ReduceMean", b.op("Mul", centred, centred), axes)
    root = b.op("Sqrt", b.op("Add", variance, b.scalar(layer.eps)))
    b.op("Add", b.op("Mul", b.op("Div", centred, root), scale), bias, to=y[0])


@exports("LRN")
def lrn(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """LRN. Of an even size TNN's window loses a channel, but its divisor does not."""
    layer = node.layer.expect(Lrn)
    dims = b.dims(node.inputs[0])
    size = 2 * ((layer.size - 1) // 2) + 1
    source = x[0] if len(dims) == 4 else b.reshape(x[0], (dims[0], dims[1], prod(dims[2:]), 1))
    made = b.op(
        "LRN", source, size=size, alpha=layer.alpha * size / layer.size, beta=layer.beta, bias=layer.bias,
        to=y[0] if len(dims) == 4 else None,
    )  # fmt: skip
    if len(dims) != 4:
        b.reshape(made, dims, to=y[0])


@exports("Normalize")
def normalize(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """x / norm over the channels. TNN does not clear its accumulator between images: they are written one by one."""
    layer = node.layer.expect(Normalize)
    images = b.dims(node.inputs[0])[0]
    if images == 1 or layer.p not in (1, 2):
        b.op("Div", x[0], _norm(b, layer, x[0], None), to=y[0])
        return
    parts = [b.unused(f"{b.scope}/image") for _ in range(images)]
    b.ops("Split", [x[0], b.ints(*(1,) * images)], parts, axis=0)
    norm, results = None, []
    for part in parts:
        norm = _norm(b, layer, part, norm)
        results.append(b.op("Div", part, norm))
    b.op("Concat", *results, to=y[0], axis=0)


def _norm(b: Builder, layer: Normalize, x: str, before: str | None) -> str:
    if layer.p == 1:
        total = reduced(b, "ReduceL1", x, [1])
        return total if before is None else b.op("Add", before, total)
    if layer.p == 2:
        total = reduced(b, "ReduceSumSquare", x, [1])
        total = total if before is None else b.op("Add", before, total)
        return b.op("Max", b.op("Sqrt", total), b.scalar(layer.epsilon))
    return reduced(b, "ReduceMax" if layer.p == INT_MAX else "ReduceMin", x, [1])


@exports("Softmax", "LogSoftmax")
def softmax(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Along one axis."""
    layer = node.layer.expect(AlongAxis)
    b.op(layer.TYPE_NAMES[0], x[0], to=y[0], axis=layer.axis)
