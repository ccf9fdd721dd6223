"""Element-wise functions of one blob without parameters: Abs, Sqrt, Exp, Sin, ... (reference, 5.3)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer

__all__ = ["Abs", "Ceil", "Erf", "Exp", "Floor", "Log", "Neg", "Not", "Reciprocal", "Rsqrt", "Sign", "Sqrt"]


@layer(41, "Abs")
class Abs(Layer):
    """|x|."""


@layer(70, "Neg")
class Neg(Layer):
    """-x."""


@layer(176, "Sign")
class Sign(Layer):
    """1, -1, else x itself (0, NaN)."""


@layer(130, "Sqrt")
class Sqrt(Layer):
    """sqrt(x)."""


@layer(138, "Rsqrt")
class Rsqrt(Layer):
    """1 / sqrt(x)."""


@layer(185, "Reciprocal")
class Reciprocal(Layer):
    """1 / x, and 0 where x is 0."""


@layer(186, "Floor")
class Floor(Layer):
    """The largest integer <= x."""


@layer(195, "Ceil")
class Ceil(Layer):
    """The smallest integer >= x."""


@layer(141, "Exp")
class Exp(Layer):
    """e**x."""


@layer(184, "Log")
class Log(Layer):
    """Natural logarithm."""


@layer(307, "Erf")
class Erf(Layer):
    """The error function."""


@layer(329, "Not")
class Not(Layer):
    """1 where x is 0, else 0 (INT8)."""
