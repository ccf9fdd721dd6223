"""Activations, softmax included."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tnnquant.onnx.builder import Builder, finite
from tnnquant.onnx.common import axis_of, binary, constant_of, in_float
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import FLOAT, Value


@operator()
def Relu(g: Builder, x: Value) -> Value:
    if x.dtype == np.int8:
        return g.cast(g.add("ReLU", [g.cast(x, np.int32)]), x.dtype)
    return g.add("ReLU", [x])


@operator()
def LeakyRelu(g: Builder, x: Value, *, alpha: float = 0.01) -> Value:
    return g.add("PReLU", [x], 1, 0, tensors={"slope": np.array([alpha], np.float32)})


@operator()
def PRelu(g: Builder, x: Value, slope: Value) -> Value:
    channels = x.dims[1] if x.rank > 1 else 1
    values = constant_of(slope, "slopes") if slope.is_constant else None
    if values is not None and values.size == 1:
        return g.add("PReLU", [x], 1, 0, tensors={"slope": values.reshape(1).astype(FLOAT)})
    if values is not None and _lies_along_channels(values.shape, x.dims, g.opset) and values.size == channels:
        return g.add("PReLU", [x], 0, 0, tensors={"slope": values.reshape(-1).astype(FLOAT)})
    positive, negative = g.add("ReLU", [x]), g.add("ReLU", [g.add("Neg", [x])])
    return binary(g, "Sub", positive, binary(g, "Mul", negative, slope))


def _lies_along_channels(dims: Sequence[int], x_dims: Sequence[int], opset: int) -> bool:
    """Whether slopes of these dims are one per channel; before opset 7 a vector was."""
    if len(dims) == 1 and opset < 7:
        return True
    aligned = (1,) * (len(x_dims) - len(dims)) + tuple(dims)
    return len(aligned) == len(x_dims) and all(d == 1 for k, d in enumerate(aligned) if k != 1)


@operator()
def Clip(
    g: Builder, x: Value, low: Value | None = None, high: Value | None = None, *, min: float | None = None,
    max: float | None = None,
) -> Value:  # fmt: skip
    low = low if low is not None else None if min is None else g.constant(min, np.float32)
    high = high if high is not None else None if max is None else g.constant(max, np.float32)
    if not x.is_float:
        bounds = [None if v is None else g.cast(v, FLOAT) for v in (low, high)]
        return g.cast(Clip(g, g.cast(x, FLOAT), *bounds), x.dtype)
    if low is None and high is None:
        return x
    if all(v is None or (v.is_constant and v.size == 1) for v in (low, high)):
        least = -np.inf if low is None else float(low.elements.reshape(-1)[0])
        most = np.inf if high is None else float(high.elements.reshape(-1)[0])
        if least == 0 and most == np.inf:
            return g.add("ReLU", [x])
        if (least, most) == (0, 6):
            return g.add("ReLU6", [x])
        # Where the bounds cross, the upper one wins in ONNX, the lower one in TNN.
        least = most if least > most else least
        return g.add("Clip", [x], finite(least), finite(most))
    if low is not None:
        x = binary(g, "Maximum", x, low)
    return x if high is None else binary(g, "Minimum", x, high)


@operator()
def Sigmoid(g: Builder, x: Value) -> Value:
    return g.add("Sigmoid", [x])


@operator()
def Tanh(g: Builder, x: Value) -> Value:
    return g.add("Tanh", [x])


@operator()
def HardSigmoid(g: Builder, x: Value, *, alpha: float = 0.2, beta: float = 0.5) -> Value:
    return g.add("HardSigmoid", [x], alpha, beta)


@operator()
def HardSwish(g: Builder, x: Value) -> Value:
    return g.add("HardSwish", [x], 1 / 6, 0.5)


@operator()
def Softplus(g: Builder, x: Value) -> Value:
    return g.add("Softplus", [x])


@operator()
def Elu(g: Builder, x: Value, *, alpha: float = 1.0) -> Value:
    return g.add("Elu", [x], alpha)


@operator()
def Selu(
    g: Builder, x: Value, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Value:
    return g.add("Selu", [x], alpha, gamma)


@operator()
def Celu(g: Builder, x: Value, *, alpha: float = 1.0) -> Value:
    # max(0, x) + alpha (exp(min(0, x) / alpha) - 1) is an Elu of x / alpha, times alpha.
    if alpha == 1:
        return g.add("Elu", [x], 1.0)
    scaled = g.add("Elu", [binary(g, "Mul", x, g.constant(1 / alpha, np.float32))], 1.0)
    return binary(g, "Mul", scaled, g.constant(alpha, np.float32))


@operator()
def Gelu(g: Builder, x: Value, *, approximate: str = "none") -> Value:
    if approximate == "none":
        return g.add("GELU", [x])
    cube = g.add("Power", [x], 3.0, 1.0, 0.0)
    inner = binary(g, "Add", x, binary(g, "Mul", cube, g.constant(0.044715, np.float32)))
    tanh = g.add("Tanh", [binary(g, "Mul", inner, g.constant(np.sqrt(2 / np.pi), np.float32))])
    half = binary(g, "Mul", x, g.constant(0.5, np.float32))
    return binary(g, "Mul", half, binary(g, "Add", tanh, g.constant(1, np.float32)))


@operator()
def Swish(g: Builder, x: Value, *, alpha: float = 1.0) -> Value:
    if alpha == 1:
        return g.add("Swish", [x])
    gate = g.add("Sigmoid", [binary(g, "Mul", x, g.constant(alpha, np.float32))])
    return binary(g, "Mul", x, gate)


@operator()
def Mish(g: Builder, x: Value) -> Value:
    return binary(g, "Mul", x, g.add("Tanh", [g.add("Softplus", [x])]))


@operator()
def Softsign(g: Builder, x: Value) -> Value:
    return binary(g, "Div", x, binary(g, "Add", g.add("Abs", [x]), g.constant(1, np.float32)))


# --- softmax ---


def _flattened(g: Builder, kind: str, x: Value, axis: int) -> Value:
    """Opset 12 and older: over all axes from ``axis`` on, taken as one."""
    axis = axis_of(axis, x.rank)
    if prod(x.dims[axis:]) == x.dims[axis]:
        return g.add(kind, [x], axis)
    flat = g.reshape(x, (prod(x.dims[:axis]), prod(x.dims[axis:])))
    return g.reshape(g.add(kind, [flat], 1), x.dims)


@operator()
def Softmax(g: Builder, x: Value, *, axis: int = 1) -> Value:
    return _flattened(g, "SoftmaxCaffe", x, axis)


@operator(since=13, name="Softmax")
def Softmax_13(g: Builder, x: Value, *, axis: int = -1) -> Value:
    return g.add("SoftmaxCaffe", [x], axis_of(axis, x.rank))


@operator()
def LogSoftmax(g: Builder, x: Value, *, axis: int = 1) -> Value:
    return _flattened(g, "LogSoftmax", x, axis)


@operator(since=13, name="LogSoftmax")
def LogSoftmax_13(g: Builder, x: Value, *, axis: int = -1) -> Value:
    return g.add("LogSoftmax", [x], axis_of(axis, x.rank))


@operator()
def Hardmax(g: Builder, x: Value, *, axis: int = 1) -> Value:
    axis = axis_of(axis, x.rank)
    flat = g.reshape(x, (prod(x.dims[:axis]), prod(x.dims[axis:])))
    return g.reshape(Hardmax_13(g, flat, axis=1), x.dims)


@operator(since=13, name="Hardmax")
def Hardmax_13(g: Builder, x: Value, *, axis: int = -1) -> Value:
    axis = axis_of(axis, x.rank)
    place = g.add("ArgMaxOrMin", [x], 1, axis, 1, 0, dtype=np.int32)
    numbers = np.arange(x.dims[axis], dtype=np.int32).reshape([-1 if k == axis else 1 for k in range(x.rank)])
    return g.cast(g.add("Equal", [place, g.constant(numbers)], dtype=bool), FLOAT)


_ = in_float
