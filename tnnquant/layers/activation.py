"""Activations of one blob with at most a few scalar parameters (reference, 5.3)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = [
    "Elu",
    "Gelu",
    "HardSigmoid",
    "LogSigmoid",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Swish",
    "Tanh",
]


@layer(23, "Sigmoid", "QuantizedSigmoid")
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""


@layer(39, "Tanh")
class Tanh(Layer):
    """tanh(x)."""


@layer(401, "Swish")
class Swish(Layer):
    """x / (1 + exp(-x))."""


@layer(147, "LogSigmoid")
class LogSigmoid(Layer):
    """log(1 / (1 + exp(-x)))."""


@layer(174, "Softplus")
class Softplus(Layer):
    """log(exp(x) + 1)."""


@layer(320, "Softsign")
class Softsign(Layer):
    """x / (1 + |x|), which TNN's CPU device does not have."""

    WHY_NOT = "TNN knows the type but its CPU device has no kernel for it; build it of Abs, Add and Div"


@layer(327, "GELU")
class Gelu(Layer):
    """x / 2 * (1 + erf(x / sqrt(2)))."""


@layer(132, "Elu")
class Elu(Layer):
    """x, and alpha * (exp(x) - 1) below 0."""

    alpha: float = param("float", 1.0)


@layer(187, "Selu")
class Selu(Layer):
    """gamma * x, and gamma * (alpha * exp(x) - alpha) up to 0.

    TNN leaves absent parameters uninitialised; here they are the constants of the usual definition.
    """

    alpha: float = param("float", 1.67326319217681884765625)
    gamma: float = param("float", 1.05070102214813232421875)


@layer(172, "HardSigmoid")
class HardSigmoid(Layer):
    """alpha * x + beta, clipped to 0..1."""

    alpha: float = param("float", 1.0)
    beta: float = param("float", 0.0)
