"""Functions of every element of one operand, activations excepted."""

from __future__ import annotations

import numpy as np

from tnnquant.onnx.builder import Builder
from tnnquant.onnx.common import binary, compare, in_float, select, unary
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import BOOL, Value


def _one(number: float) -> np.ndarray:
    return np.asarray(number, np.float32)


@operator()
def Abs(g: Builder, x: Value) -> Value:
    if x.is_float:
        return g.add("Abs", [x])
    # TNN passes integers through; their magnitude is relu(x) + relu(-x).
    wide = x if x.dtype != np.int8 else g.cast(x, np.int32)
    both = binary(g, "Add", g.add("ReLU", [wide]), g.add("ReLU", [g.add("Neg", [wide])]))
    return g.cast(both, x.dtype)


@operator()
def Neg(g: Builder, x: Value) -> Value:
    return g.add("Neg", [x])


@operator()
def Sqrt(g: Builder, x: Value) -> Value:
    return g.add("Sqrt", [x])


@operator()
def Exp(g: Builder, x: Value) -> Value:
    return g.add("Exp", [x])


@operator()
def Log(g: Builder, x: Value) -> Value:
    return g.add("Log", [x])


@operator()
def Reciprocal(g: Builder, x: Value) -> Value:
    return g.add("Reciprocal", [x])


@operator()
def Erf(g: Builder, x: Value) -> Value:
    return unary(g, "Erf", x)


@operator()
def Floor(g: Builder, x: Value) -> Value:
    return g.add("Floor", [x])


@operator()
def Ceil(g: Builder, x: Value) -> Value:
    return g.add("Ceil", [x])


@operator()
def Sign(g: Builder, x: Value) -> Value:
    return unary(g, "Sign", x)


@operator()
def Sin(g: Builder, x: Value) -> Value:
    return g.add("Sin", [x])


@operator()
def Cos(g: Builder, x: Value) -> Value:
    return g.add("Cos", [x])


@operator()
def Tan(g: Builder, x: Value) -> Value:
    return g.add("Tan", [x])


@operator()
def Asin(g: Builder, x: Value) -> Value:
    return g.add("Asin", [x])


@operator()
def Acos(g: Builder, x: Value) -> Value:
    return g.add("Acos", [x])


@operator()
def Atan(g: Builder, x: Value) -> Value:
    return g.add("Atan", [x])


def _halves(g: Builder, x: Value) -> tuple[Value, Value]:
    return g.add("Exp", [x]), g.add("Exp", [g.add("Neg", [x])])


@operator()
def Sinh(g: Builder, x: Value) -> Value:
    up, down = _halves(g, x)
    return binary(g, "Mul", binary(g, "Sub", up, down), g.constant(_one(0.5)))


@operator()
def Cosh(g: Builder, x: Value) -> Value:
    up, down = _halves(g, x)
    return binary(g, "Mul", binary(g, "Add", up, down), g.constant(_one(0.5)))


@operator()
def Asinh(g: Builder, x: Value) -> Value:
    # sign(x) log(|x| + sqrt(x^2 + 1)): no cancellation below 0.
    size = g.add("Abs", [x])
    root = g.add("Sqrt", [binary(g, "Add", binary(g, "Mul", x, x), g.constant(_one(1)))])
    return binary(g, "Mul", g.add("Sign", [x]), g.add("Log", [binary(g, "Add", size, root)]))


@operator()
def Acosh(g: Builder, x: Value) -> Value:
    root = g.add("Sqrt", [binary(g, "Sub", binary(g, "Mul", x, x), g.constant(_one(1)))])
    return g.add("Log", [binary(g, "Add", x, root)])


@operator()
def Atanh(g: Builder, x: Value) -> Value:
    one = g.constant(_one(1))
    ratio = binary(g, "Div", binary(g, "Add", x, one), binary(g, "Sub", one, x))
    return binary(g, "Mul", g.add("Log", [ratio]), g.constant(_one(0.5)))


@operator()
def Round(g: Builder, x: Value) -> Value:
    # To the nearest; of two equally near the even one.
    shifted = binary(g, "Add", x, g.constant(_one(0.5)))
    up = g.add("Floor", [shifted])
    half = binary(g, "Mul", up, g.constant(_one(0.5)))
    even = g.add("Equal", [half, g.add("Floor", [half])], dtype=BOOL)
    odd_tie = binary(g, "And", g.add("Equal", [up, shifted], dtype=BOOL), g.add("Not", [even], dtype=BOOL), BOOL)
    return binary(g, "Sub", up, g.cast(odd_tie, np.float32))


@operator()
def IsInf(g: Builder, x: Value, *, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    if not (detect_negative or detect_positive):
        return compare(g, "Greater", g.add("Neg", [g.add("Abs", [x])]), g.constant(_one(0)))
    side = g.add("Abs", [x]) if detect_negative and detect_positive else x
    limit = np.inf if detect_positive else -np.inf
    return compare(g, "Equal", side, g.constant(np.full((1,) * max(x.rank, 1), limit, np.float32)))


@operator()
def Identity(g: Builder, x: Value) -> Value:
    return x


@operator()
def Dropout(
    g: Builder, x: Value, ratio_input: Value | None = None, training_mode: Value | None = None, *, ratio: float = 0.5,
    seed: int = 0,
) -> Value | tuple[Value, Value]:  # fmt: skip
    from tnnquant.onnx.refusal import Refused

    drops = ratio_input is None or not ratio_input.is_constant or bool(ratio_input.elements.reshape(-1)[0])
    if drops and training_mode is not None and (not training_mode.is_constant or training_mode.elements.any()):
        raise Refused("it drops values at random (training_mode); export the model for inference")
    if 1 in g.wanted:
        return x, g.constant(np.ones(x.dims, bool))
    return x


_ = in_float, select
