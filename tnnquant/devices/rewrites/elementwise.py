"""Layers of one value at a time: operands of different rank or in a crowd, gates, differences, the error function."""

from __future__ import annotations

from math import prod

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.devices.memory import LANES
from tnnquant.devices.rewrites.fragment import Fragment, rewrite
from tnnquant.kernels.geometry import SWISH
from tnnquant.layers.binary import Binary, SquaredDifference
from tnnquant.layers.gated import Glu, HardSwish
from tnnquant.layers.softmax import LogSoftmax
from tnnquant.layers.weighted import FusesActivation

__all__: list[str] = []

_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Maximum", "Minimum")


@rewrite("a chain of layers with two operands", *_ARITHMETIC)
def _chain(f: Fragment) -> str | None:
    if len(f.node.inputs) < 3:
        return None
    x = f.node.inputs[0]
    for other in f.node.inputs[1:]:
        x = f.keep((x, other))
    return x


@rewrite("operands of as many dims", *_ARITHMETIC)
def _same_rank(f: Fragment) -> str | None:
    if len(f.node.inputs) != 2 or any(spec.dtype != DataType.FLOAT for spec in f.inputs):
        return None
    rank = max(2, *(len(spec.dims) for spec in f.inputs))
    if all(len(spec.dims) == rank for spec in f.inputs):
        return None
    operands = []
    for number, blob in enumerate(f.node.inputs):
        dims = f.inputs[number].dims
        if len(dims) < rank:
            dims = (*(1,) * (rank - len(dims)), *dims)
            value = f.value(number)
            blob = f.reshape(blob, dims) if value is None else f.constant(value.reshape(dims))
        operands.append(blob)
    x = f.keep(operands)
    return x if len(f.outputs[0].dims) == rank else f.reshape(x, f.outputs[0].dims)


@rewrite("two dims", *_ARITHMETIC)
def _vector_and_constant(f: Fragment) -> str | None:
    """A blob of one dim, and an operand in the model file."""
    element = f.node.tensors.get("element")
    if len(f.node.inputs) != 1 or element is None or len(f.inputs[0].dims) != 1 or element.dtype != DataType.FLOAT:
        return None
    count = f.inputs[0].dims[0]
    if element.size not in (1, count):
        return None
    row = f.reshape(f.node.inputs[0], (1, count))
    index = f.layer.expect(Binary).weight_input_index
    x = f.add(f.place.kind, row, index, tensors={"element": element.array().reshape(1, -1)})
    return f.reshape(x, f.outputs[0].dims)


@rewrite("Div, laid out anew by a Reshape", "Div")
def _quotient(f: Fragment) -> str | None:
    dims = f.outputs[0].dims
    if f.inputs[0].dtype != DataType.FLOAT or dims[1] % LANES == 0:
        return None
    return f.reshape(f.keep(f.node.inputs), dims, dims)


@rewrite("Power, Clip and Mul", "HardSwish")
def _hard_swish(f: Fragment) -> str | None:
    if len(f.node.inputs) != 2:
        return None
    layer = f.layer.expect(HardSwish)
    rank = max(len(spec.dims) for spec in f.inputs)
    x, gate = (
        blob if len(spec.dims) == rank else f.reshape(blob, (*spec.dims, *(1,) * (rank - len(spec.dims))))
        for blob, spec in zip(f.node.inputs, f.inputs, strict=True)
    )
    gate = f.add("Clip", f.add("Power", gate, 1.0, layer.alpha, layer.beta), 0.0, 1.0)
    return f.add("Mul", (x, gate), -1)


@rewrite("SplitV, Sigmoid and Mul", "GLU")
def _glu(f: Fragment) -> str | None:
    axis = f.layer.expect(Glu).axis
    half = f.outputs[0].dims[axis]
    x, gate = f.add_many("SplitV", f.node.inputs[0], axis, (half, half), outputs=2)
    return f.add("Mul", (x, f.add("Sigmoid", gate)), -1)


@rewrite("Softmax and Log", "LogSoftmax")
def _log_softmax(f: Fragment) -> str | None:
    return f.add("Log", f.add("Softmax", f.node.inputs[0], f.layer.expect(LogSoftmax).axis))


@rewrite("Sub and Mul", "SquaredDifference")
def _squared_difference(f: Fragment) -> str | None:
    element = f.node.tensors.get("element")
    tensors = None if element is None else {"element": element.array()}
    difference = f.add("Sub", f.node.inputs, f.layer.expect(SquaredDifference).weight_input_index, tensors=tensors)
    return f.add("Mul", (difference, difference), -1)


@rewrite("the swish as a layer of its own", "Convolution", "Convolution1D", "Deconvolution")
def _swish_apart(f: Fragment) -> str | None:
    if f.layer.expect(FusesActivation).activation_type != SWISH:
        return None
    return f.add("Swish", f.keep(f.node.inputs, activation_type=0))


@rewrite("SplitV, Mul, Sub, Neg, Concat and Div", "Inverse")
def _inverse(f: Fragment) -> str | None:
    dims = f.inputs[0].dims
    if dims[-1] != 2:
        return None
    count = prod(dims[:-2])
    x = f.reshape(f.node.inputs[0], (count, 4))
    a, b, c, d = f.add_many("SplitV", x, 1, (1, 1, 1, 1), outputs=4)
    determinant = f.add("Sub", (f.add("Mul", (a, d), -1), f.add("Mul", (b, c), -1)), -1)
    adjugate = f.add("Concat", (d, f.add("Neg", b), f.add("Neg", c), a), 1)
    return f.reshape(f.add("Div", (adjugate, determinant), -1), dims)


@rewrite("Abs, Power, Exp and Mul", "Erf")
def _erf(f: Fragment) -> str | None:
    """Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: off by at most 1.5e-7."""
    x = f.node.inputs[0]
    if len(f.inputs[0].dims) < 2:
        return None
    t = f.add("Power", f.add("Abs", x), -1.0, float(np.float32(0.3275911)), 1.0)
    coefficients = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    series = f.add("Power", t, 1.0, coefficients[0], coefficients[1])
    for shift in coefficients[2:]:
        series = f.add("Power", f.add("Mul", (series, t), -1), 1.0, 1.0, shift)
    series = f.add("Mul", (series, t), -1)
    bell = f.add("Exp", f.add("Neg", f.add("Mul", (x, x), -1)))
    magnitude = f.add("Power", f.add("Mul", (series, bell), -1), 1.0, -1.0, 1.0)
    return f.add("Mul", (f.add("Sign", x), magnitude), -1)
