"""Arithmetic of several blobs, comparisons, selection, gates; TNN's broadcasting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.layers.binary import Binary
from tnnquant.layers.cast import BitShift, Cast
from tnnquant.layers.comparison import Greater, Less
from tnnquant.layers.gated import Glu, HardSwish
from tnnquant.layers.prelu import Prelu
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.registry import exports

__all__ = ["stretched"]

_ARITHMETIC = {"Add": "Add", "Sub": "Sub", "Mul": "Mul", "Div": "Div", "Maximum": "Max", "Minimum": "Min"}


def stretched(b: Builder, x: str, have: Sequence[int], want: Sequence[int]) -> str:
    """``x`` so that ONNX broadcasts it as TNN does, which repeats the last element of an axis of another size."""
    offset = len(want) - len(have)
    for axis, size in enumerate(have):
        if size not in (1, want[offset + axis]):
            places = np.minimum(np.arange(want[offset + axis]), size - 1)
            x = b.op("Gather", x, b.constant(places.astype(np.int64)), axis=axis)
    return x


def _stretched_dims(have: Sequence[int], want: Sequence[int]) -> tuple[int, ...]:
    """The dims of what :func:`stretched` gives."""
    return tuple(1 if size == 1 else full for size, full in zip(have, want[len(want) - len(have) :], strict=True))


def _operands(b: Builder, node: Node, x: Sequence[str]) -> tuple[list[str], list[tuple[int, ...]]]:
    """The operands and their dims; one may lie in the model file."""
    from tnnquant.layers.binary import element_dims

    names, dims = list(x), [b.dims(blob) for blob in node.inputs]
    if len(x) == 1:
        element = node.tensors["element"]
        shape = element_dims(element, dims[0])
        data = element.float32() if b.specs[node.inputs[0]].dtype == DataType.FLOAT else element.data
        place = node.layer.expect(Binary).weight_input_index
        names.insert(place, b.constant(data.reshape(shape), "element"))
        dims.insert(place, shape)
    return names, dims


@exports("Add", "Sub", "Mul", "Div", "Maximum", "Minimum", "SquaredDifference", "And")
def arithmetic(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """A left fold over the operands."""
    kind, want = node.layer.TYPE_NAMES[0], b.dims(node.outputs[0])
    names, dims = _operands(b, node, x)
    names = [stretched(b, name, have, want) for name, have in zip(names, dims, strict=True)]
    if len(names) == 1:
        b.op("Identity", names[0], to=y[0])
        return
    result = names[0]
    for position, name in enumerate(names[1:], start=2):
        to = y[0] if position == len(names) else None
        if kind == "SquaredDifference":
            difference = b.op("Sub", result, name)
            result = b.op("Mul", difference, difference, to=to)
        elif kind == "And":
            result = b.cast(b.op("And", _truth(b, result), _truth(b, name)), DataType.INT8, to=to)
        else:
            result = b.op(_ARITHMETIC[kind], result, name, to=to)


def _truth(b: Builder, x: str) -> str:
    from onnx import TensorProto

    return b.cast(x, TensorProto.BOOL)


@exports("Greater", "Less", "Equal")
def comparison(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """0 or 1, INT8. Of an operand in the model file TNN uses the first element."""
    want, dtype = b.dims(node.outputs[0]), b.specs[node.inputs[0]].dtype
    names, shape = list(x), [b.dims(blob) for blob in node.inputs]
    if len(x) == 1:
        value = node.tensors["element"].array().reshape(-1)[0].astype(dtype.numpy)
        place = node.layer.weight_input_index if isinstance(node.layer, Greater | Less) else 1
        names.insert(place, b.scalar(value, dtype.numpy))
        shape.insert(place, ())
    if dtype == DataType.INT8:  # runtimes compare no INT8
        names = [b.cast(name, DataType.INT32) for name in names]
    names = [stretched(b, name, have, want) for name, have in zip(names, shape, strict=True)]
    result = b.op(node.layer.TYPE_NAMES[0], *names)
    made = np.broadcast_shapes(*(_stretched_dims(dims, want) for dims in shape))
    if made == tuple(want):
        b.cast(result, DataType.INT8, to=y[0])
    else:
        b.op("Expand", b.cast(result, DataType.INT8), b.ints(*want), to=y[0])


@exports("Where")
def where(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """x where the condition is not 0, else y; the condition comes last."""
    want = b.dims(node.outputs[0])
    names = [stretched(b, name, b.dims(blob), want) for name, blob in zip(x, node.inputs, strict=True)]
    result = b.op("Where", _truth(b, names[2]), names[0], names[1])
    b.op("Expand", result, b.ints(*want), to=y[0])


@exports("Not")
def logical_not(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """1 where x is 0, else 0."""
    b.cast(b.op("Not", _truth(b, x[0])), DataType.INT8, to=y[0])


@exports("HardSwish")
def hard_swish(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """x0 * (alpha * x1 + beta between 0 and 1); the elements of two operands are paired aligned on the left."""
    layer = node.layer.expect(HardSwish)
    want = b.dims(node.outputs[0])
    if len(x) == 1:
        b.op("Mul", x[0], b.op("HardSigmoid", x[0], alpha=layer.alpha, beta=layer.beta), to=y[0])
        return
    names = []
    for name, blob in zip(x, node.inputs, strict=True):
        dims = b.dims(blob)
        if len(dims) < len(want):
            dims = (*dims, *(1,) * (len(want) - len(dims)))
            name = b.reshape(name, dims)
        names.append(stretched(b, name, dims, want))
    gate = b.op("HardSigmoid", names[1], alpha=layer.alpha, beta=layer.beta)
    b.op("Expand", b.op("Mul", names[0], gate), b.ints(*want), to=y[0])


@exports("GLU")
def glu(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """The first half along an axis times the sigmoid of the second."""
    layer = node.layer.expect(Glu)
    half = b.dims(node.inputs[0])[layer.axis] // 2
    halves = [b.unused(f"{b.scope}/half") for _ in range(2)]
    b.ops("Split", [x[0], b.ints(half, half)], halves, axis=layer.axis)
    b.op("Mul", halves[0], b.op("Sigmoid", halves[1]), to=y[0])


@exports("PReLU")
def prelu(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """x, and x * slope below 0."""
    layer = node.layer.expect(Prelu)
    dims = b.dims(node.inputs[0])
    slope, _ = layer.values(node.tensors, dims[1] if len(dims) > 1 else 1)
    shape = (slope.size, *(1,) * max(len(dims) - 2, 0))
    b.op("PRelu", x[0], b.constant(slope.reshape(shape), "slope"), to=y[0])


@exports("BitShift")
def bit_shift(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Of INT32 taken as unsigned."""
    from onnx import TensorProto

    layer = node.layer.expect(BitShift)
    bits = b.scalar(layer.bits, np.uint32)
    direction = "LEFT" if layer.direction else "RIGHT"
    shifted = b.op("BitShift", b.cast(x[0], TensorProto.UINT32), bits, direction=direction)
    b.cast(shifted, DataType.INT32, to=y[0])


@exports("Cast")
def cast(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Another data type."""
    layer = node.layer.expect(Cast)
    try:
        b.cast(x[0], DataType(layer.to), to=y[0])
    except KeyError:
        raise UnsupportedLayerError(f"casts to data type {layer.to}") from None
