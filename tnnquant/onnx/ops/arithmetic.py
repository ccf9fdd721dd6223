"""Arithmetic, comparisons and logic of several operands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tnnquant.onnx.builder import Builder
from tnnquant.onnx.common import (
    axis_of,
    binary,
    broadcast_dims,
    chain,
    compare,
    constant_of,
    expanded,
    in_float,
    select,
)
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import BOOL, Value


def _placed(g: Builder, a: Value, b: Value, axis: int | None, broadcast: int) -> Value:
    """Opset 6 and older: ``axis`` says where the dims of the second operand lie in those of the first."""
    if broadcast and axis is not None and b.rank < a.rank:
        axis = axis_of(axis, a.rank)
        return g.reshape(b, (*b.dims, *(1,) * (a.rank - axis - b.rank)))
    return b


@operator()
def Add(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    return binary(g, "Add", a, _placed(g, a, b, axis, broadcast))


@operator()
def Sub(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    return binary(g, "Sub", a, _placed(g, a, b, axis, broadcast))


@operator()
def Mul(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    return binary(g, "Mul", a, _placed(g, a, b, axis, broadcast))


@operator()
def Div(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    return binary(g, "Div", a, _placed(g, a, b, axis, broadcast))


@operator()
def Sum(g: Builder, *values: Value) -> Value:
    return chain(g, "Add", values)


@operator()
def Mean(g: Builder, *values: Value) -> Value:
    total = chain(g, "Add", values)
    return total if len(values) == 1 else binary(g, "Div", total, g.constant(len(values), np.float32))


def _extreme(g: Builder, kind: str, values: Sequence[Value]) -> Value:
    result = chain(g, kind, [in_float(g, value) for value in values])
    return result if values[0].is_float else g.cast(result, values[0].dtype)


@operator()
def Max(g: Builder, *values: Value) -> Value:
    return _extreme(g, "Maximum", values)


@operator()
def Min(g: Builder, *values: Value) -> Value:
    return _extreme(g, "Minimum", values)


#: Most different exponents of one constant that get a Power each.
_MOST_EXPONENTS = 8


@operator()
def Pow(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    if not a.is_float:
        return g.cast(Pow(g, g.cast(a, np.float32), b), a.dtype)
    if not b.is_constant:
        if a.is_constant and (a.elements > 0).all():
            return g.add(
                "Exp", [binary(g, "Mul", in_float(g, b), g.constant(np.log(a.elements.astype(np.float64)), np.float32))]
            )
        raise Refused("its exponent depends on the data, and its base may be negative; TNN has constant exponents only")
    dims = broadcast_dims(a, b)
    if 0 in dims:
        return Value.constant(np.zeros(dims, a.dtype))
    exponents = b.elements.astype(np.float64)
    distinct = np.unique(exponents)
    result: Value | None = None
    if len(distinct) > _MOST_EXPONENTS:
        # exp(b log a) is right for fractions: NaN for a negative base, which has no such power, and right for 0.
        if (whole := distinct[distinct == np.round(distinct)]).size > _MOST_EXPONENTS:
            raise Refused(f"it has {whole.size} different whole exponents; TNN's Power takes one")
        fractions = np.where(exponents == np.round(exponents), 0.5, exponents)
        result = g.add("Exp", [binary(g, "Mul", g.add("Log", [a]), g.constant(fractions, np.float32))])
        distinct = whole
    for exponent in distinct:
        power = _power(g, a, float(exponent))
        result = power if result is None else select(g, g.constant(exponents == exponent), power, result)
    assert result is not None  # there is at least one exponent
    return expanded(g, result, dims)


def _power(g: Builder, a: Value, exponent: float) -> Value:
    if exponent == 1:
        return a
    if exponent == 2:
        return g.add("Mul", [a, a], -1)
    if exponent == 0.5:
        return g.add("Sqrt", [a])
    if exponent == -1:
        return g.add("Reciprocal", [a])
    return g.add("Power", [a], exponent, 1.0, 0.0)


@operator()
def Mod(g: Builder, a: Value, b: Value, *, fmod: int = 0) -> Value:
    if a.is_float:
        quotient = binary(g, "Div", a, b)
        whole = g.cast(g.cast(quotient, np.int32), np.float32) if fmod else g.add("Floor", [quotient])
        rest = binary(g, "Sub", a, binary(g, "Mul", whole, b))
        if fmod or (b.is_constant and np.isfinite(b.elements).all()):
            return rest
        # By an infinite divisor: the dividend if it has the same sign, else the divisor.
        dims = (1,) * max(b.rank, 1)
        endless = compare(g, "Equal", g.add("Abs", [b]), g.constant(np.full(dims, np.inf), np.float32))
        kept = select(g, compare(g, "Less", binary(g, "Mul", a, b), g.constant(0, np.float32)), b, a)
        return select(g, endless, kept, rest)
    rest = binary(g, "Sub", a, binary(g, "Mul", binary(g, "Div", a, b), b))
    if fmod:
        return rest
    # The rest has the sign of the dividend; a remainder has that of the divisor.
    zero = g.constant(0, a.dtype)
    signs = binary(g, "Mul", rest, b)
    return select(g, compare(g, "Less", signs, zero), binary(g, "Add", rest, b), rest)


# --- comparisons and logic ---


@operator()
def Equal(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    return compare(g, "Equal", a, _placed(g, a, b, axis, broadcast))


@operator()
def Greater(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    return compare(g, "Greater", a, _placed(g, a, b, axis, broadcast))


@operator()
def Less(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    return compare(g, "Less", a, _placed(g, a, b, axis, broadcast))


@operator()
def GreaterOrEqual(g: Builder, a: Value, b: Value) -> Value:
    return Not(g, compare(g, "Less", a, b))


@operator()
def LessOrEqual(g: Builder, a: Value, b: Value) -> Value:
    return Not(g, compare(g, "Greater", a, b))


@operator()
def Not(g: Builder, x: Value) -> Value:
    return g.add("Not", [x], dtype=BOOL)


@operator()
def And(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    return binary(g, "And", a, _placed(g, a, b, axis, broadcast), BOOL)


@operator()
def Or(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    b = _placed(g, a, b, axis, broadcast)
    return Not(g, binary(g, "And", _negated(g, a), _negated(g, b), BOOL))


def _negated(g: Builder, x: Value) -> Value:
    return g.constant(~x.elements) if x.is_constant else Not(g, x)


@operator()
def Xor(g: Builder, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    return Not(g, compare(g, "Equal", a, _placed(g, a, b, axis, broadcast)))


@operator()
def Where(g: Builder, condition: Value, x: Value, y: Value) -> Value:
    return select(g, condition, x, y)


@operator()
def IsNaN(g: Builder, x: Value) -> Value:
    return Not(g, g.add("Equal", [x, x], dtype=BOOL))


@operator()
def BitShift(g: Builder, x: Value, shift: Value, *, direction: str) -> Value:
    bits = constant_of(shift, "numbers of bits").astype(np.int64)
    width = 8 * x.dtype.itemsize
    # A negative number is a large unsigned one.
    bits = np.where(bits < 0, width, bits)
    wide = g.cast(x, np.int32)
    if direction == "LEFT":
        factors = np.where(bits < width, 1 << np.minimum(bits, 31), 0)
        made = binary(g, "Mul", wide, g.constant(factors.astype(np.uint32).astype(np.int32)))
        return g.cast(made, x.dtype)
    bits = np.minimum(bits, 31)
    # In two steps, each by a power of two that 32 bits hold.
    for part in (bits // 2, bits - bits // 2):
        if part.any():
            wide = _floor_divided(g, wide, g.constant(1 << part, np.int32))
    return g.cast(wide, x.dtype)


def _floor_divided(g: Builder, x: Value, divisor: Value) -> Value:
    """Integers divided and rounded down; TNN cuts off."""
    quotient = binary(g, "Div", x, divisor)
    above = compare(g, "Greater", binary(g, "Mul", quotient, divisor), x)
    return binary(g, "Sub", quotient, g.cast(above, np.int32))
