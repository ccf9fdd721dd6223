"""Activations of one blob with at most a few scalar parameters (docs/tnn-format.md, 5.3)."""

from __future__ import annotations

import numpy as np

from tnnquant.base.arithmetic import is_exact
from tnnquant.kernels.geometry import SWISH
from tnnquant.layers.base import Layer, layer
from tnnquant.layers.elementwise import Mapped, Unary
from tnnquant.layers.fields import param

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
class Sigmoid(Mapped):
    """1 / (1 + exp(-x))."""

    def function(self) -> tuple[str, float, float]:
        return "SIGMOID", 0.0, 0.0


@layer(39, "Tanh")
class Tanh(Unary):
    """tanh(x)."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return np.tanh(x)


@layer(401, "Swish")
class Swish(Mapped):
    """x / (1 + exp(-x))."""

    ACTIVATION_CODE = SWISH

    def function(self) -> tuple[str, float, float]:
        return "SWISH", 0.0, 0.0


@layer(147, "LogSigmoid")
class LogSigmoid(Mapped):
    """log(1 / (1 + exp(-x))) in float32: -inf where exp(-x) overflows, although the value is near x there."""

    def function(self) -> tuple[str, float, float]:
        return "LOG_SIGMOID", 0.0, 0.0


@layer(174, "Softplus")
class Softplus(Mapped):
    """log(exp(x) + 1) in float32: inf where exp(x) overflows, although the value is near x there."""

    def function(self) -> tuple[str, float, float]:
        return "SOFTPLUS", 0.0, 0.0


@layer(320, "Softsign")
class Softsign(Layer):
    """x / (1 + |x|), which TNN's CPU device does not have."""

    WHY_NOT = "TNN knows the type but its CPU device has no kernel for it; build it of Abs, Add and Div"


@layer(327, "GELU")
class Gelu(Mapped):
    """x / 2 * (1 + erf(x / sqrt(2)))."""

    def function(self) -> tuple[str, float, float]:
        return "GELU" if is_exact() else "FAST_GELU", 0.0, 0.0


@layer(132, "Elu")
class Elu(Mapped):
    """x, and alpha * (exp(x) - 1) below 0."""

    alpha: float = param("float", 1.0)

    def function(self) -> tuple[str, float, float]:
        return "ELU", self.alpha, 0.0


@layer(187, "Selu")
class Selu(Mapped):
    """gamma * x, and gamma * (alpha * exp(x) - alpha) up to 0.

    TNN leaves absent parameters uninitialised; here they are the constants of the usual definition.
    """

    alpha: float = param("float", 1.67326319217681884765625)
    gamma: float = param("float", 1.05070102214813232421875)

    def function(self) -> tuple[str, float, float]:
        return "SELU", self.alpha, self.gamma


@layer(172, "HardSigmoid")
class HardSigmoid(Mapped):
    """0 up to -beta / alpha, 1 from (1 - beta) / alpha on, alpha * x + beta between."""

    alpha: float = param("float", 1.0)
    beta: float = param("float", 0.0)

    def function(self) -> tuple[str, float, float]:
        return "HARD_SIGMOID", self.alpha, self.beta
