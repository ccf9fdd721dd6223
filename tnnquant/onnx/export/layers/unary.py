"""Functions of every element of one blob."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.graph import Node
from tnnquant.layers.activation import Elu, HardSigmoid, Selu
from tnnquant.layers.base import Layer
from tnnquant.layers.clip import Clip
from tnnquant.layers.gated import SignedMul
from tnnquant.layers.power import Power
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.registry import Writer, exports

__all__: list[str] = []

#: Layers that are one operator of the same meaning.
_SAME = {
    "Abs": "Abs", "Acos": "Acos", "Asin": "Asin", "Atan": "Atan", "Ceil": "Ceil", "Cos": "Cos", "Erf": "Erf",
    "Exp": "Exp", "Floor": "Floor", "Log": "Log", "Neg": "Neg", "Sigmoid": "Sigmoid", "Sign": "Sign",
    "Sin": "Sin", "Softplus": "Softplus", "Sqrt": "Sqrt", "Tan": "Tan", "Tanh": "Tanh",
}  # fmt: skip
#: Those that change integers too; the others leave them alone.
_OF_INTEGERS = ("Neg",)


def _floats_only(function: Callable[[Builder, Any, str, str], None]) -> Writer:
    """A writer of a function that TNN applies to floats alone: integers pass as they are."""

    def write(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
        kind, spec = node.layer.TYPE_NAMES[0], b.specs[node.inputs[0]]
        if spec.dtype in (DataType.FLOAT, DataType.HALF) or node.quantized or kind in _OF_INTEGERS:
            function(b, node.layer, x[0], y[0])
        else:
            b.op("Identity", x[0], to=y[0])

    return write


def _register(kind: str) -> Callable[[Callable[[Builder, Any, str, str], None]], Callable]:
    def register(function: Callable[[Builder, Any, str, str], None]) -> Callable:
        exports(kind)(_floats_only(function))
        return function

    return register


def _same(operator: str) -> Callable[[Builder, Any, str, str], None]:
    def write(b: Builder, layer: Layer, x: str, y: str) -> None:
        b.op(operator, x, to=y)

    return write


for _type, _operator in _SAME.items():
    _register(_type)(_same(_operator))


@_register("Rsqrt")
def rsqrt(b: Builder, layer: Layer, x: str, y: str) -> None:
    """1 / sqrt(x)."""
    b.op("Reciprocal", b.op("Sqrt", x), to=y)


@_register("Reciprocal")
def reciprocal(b: Builder, layer: Layer, x: str, y: str) -> None:
    """1 / x, and 0 where x is 0."""
    b.op("Where", b.op("Equal", x, b.scalar(0)), b.scalar(0), b.op("Reciprocal", x), to=y)


@_register("LogSigmoid")
def log_sigmoid(b: Builder, layer: Layer, x: str, y: str) -> None:
    """-softplus(-x)."""
    b.op("Neg", b.op("Softplus", b.op("Neg", x)), to=y)


@_register("Swish")
def swish(b: Builder, layer: Layer, x: str, y: str) -> None:
    """x * sigmoid(x)."""
    b.op("Mul", x, b.op("Sigmoid", x), to=y)


@_register("GELU")
def gelu(b: Builder, layer: Layer, x: str, y: str) -> None:
    """x / 2 * (1 + erf(x / sqrt(2)))."""
    if b.opset >= 20:
        b.op("Gelu", x, to=y)
        return
    erf = b.op("Erf", b.op("Div", x, b.scalar(math.sqrt(2))))
    b.op("Mul", b.op("Mul", x, b.op("Add", erf, b.scalar(1))), b.scalar(0.5), to=y)


@_register("Elu")
def elu(b: Builder, layer: Elu, x: str, y: str) -> None:
    """x, and alpha * (exp(x) - 1) below 0."""
    b.op("Elu", x, to=y, alpha=layer.alpha)


@_register("Selu")
def selu(b: Builder, layer: Selu, x: str, y: str) -> None:
    """gamma * x, and gamma * (alpha * exp(x) - alpha) up to 0."""
    b.op("Selu", x, to=y, alpha=layer.alpha, gamma=layer.gamma)


@_register("HardSigmoid")
def hard_sigmoid(b: Builder, layer: HardSigmoid, x: str, y: str) -> None:
    """alpha * x + beta between 0 and 1."""
    b.op("HardSigmoid", x, to=y, alpha=layer.alpha, beta=layer.beta)


@exports("ReLU")
def relu(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """max(0, x), of integers too: ONNX's Relu takes those from opset 14 on."""
    dtype = b.specs[node.inputs[0]].dtype
    if dtype == DataType.FLOAT or node.quantized:
        b.op("Relu", x[0], to=y[0])
    else:
        b.op("Clip", x[0], b.scalar(0, dtype.numpy), to=y[0])


@exports("ReLU6")
def relu6(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Between 0 and 6, of integers too."""
    dtype = np.float32 if node.quantized else b.specs[node.inputs[0]].dtype.numpy
    b.op("Clip", x[0], b.scalar(0, dtype), b.scalar(6, dtype), to=y[0])


@_register("Clip")
def clip(b: Builder, layer: Clip, x: str, y: str) -> None:
    """max(min, min(max, x)): ONNX does not say what it gives when min lies above max."""
    low, high = (b.scalar(value) for value in (layer.min, layer.max))
    if layer.min <= layer.max:
        b.op("Clip", x, low, high, to=y)
    else:
        b.op("Max", low, b.op("Min", high, x), to=y)


@_register("Power")
def power(b: Builder, layer: Power, x: str, y: str) -> None:
    """(x * scale + shift) ** exponent."""
    if layer.scale != 1:
        x = b.op("Mul", x, b.scalar(layer.scale))
    if layer.shift != 0:
        x = b.op("Add", x, b.scalar(layer.shift))
    b.op("Pow", x, b.scalar(layer.exponent), to=y) if layer.exponent != 1 else b.op("Identity", x, to=y)


@_register("SignedMul")
def signed_mul(b: Builder, layer: SignedMul, x: str, y: str) -> None:
    """(sign(x - alpha) + beta) / gamma, then every channel times channel 0."""
    signs = b.op("Sign", b.op("Sub", x, b.scalar(layer.alpha)))
    factor = b.scalar(float(np.float32(1) / np.float32(layer.gamma)))
    t = b.op("Mul", b.op("Add", signs, b.scalar(layer.beta)), factor)
    b.op("Mul", t, b.op("Slice", t, b.ints(0), b.ints(1), b.ints(1)), to=y)
