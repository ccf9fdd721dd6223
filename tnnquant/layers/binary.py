"""Binary arithmetic with broadcasting: Add, Sub, Mul, Div, Maximum, ... (reference, 4.4, 5.3, 6.5)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, QuantRole, TensorField, layer, param

__all__ = ["Add", "And", "Binary", "Div", "Maximum", "Minimum", "Mul", "SquaredDifference", "Sub"]


class Binary(Layer):
    """Left fold of an operation over the operands; one of them may lie in the resource."""

    RESOURCE = (TensorField("element"),)


@layer(38, "Add", "QuantizedAdd")
class Add(Binary):
    """a + b."""

    weight_input_index: int = param("int", 1)

    QUANT = QuantRole.JOIN


@layer(108, "Sub")
class Sub(Binary):
    """a - b."""

    weight_input_index: int = param("int", 1)


@layer(42, "Mul")
class Mul(Binary):
    """a * b."""

    weight_input_index: int = param("int", 1)


@layer(175, "Div")
class Div(Binary):
    """a / b."""

    weight_input_index: int = param("int", 1)


@layer(137, "Maximum")
class Maximum(Binary):
    """The larger one."""

    weight_input_index: int = param("int", 1)


@layer(140, "Minimum")
class Minimum(Binary):
    """The smaller one."""

    weight_input_index: int = param("int", 1)


@layer(198, "SquaredDifference")
class SquaredDifference(Binary):
    """(a - b) ** 2."""

    weight_input_index: int = param("int", 1)


@layer(332, "And")
class And(Binary):
    """a and b (INT8)."""

    weight_input_index: int = param("int", 1)
