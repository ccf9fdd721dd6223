"""Element-wise functions of one blob without parameters: Abs, Sqrt, Exp, ... (docs/tnn-format.md, 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from tnnquant.base.arithmetic import is_exact
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.elementwise import Mapped, Unary, in_double

__all__ = ["Abs", "Ceil", "Erf", "Exp", "Floor", "Log", "Neg", "Not", "Reciprocal", "Rsqrt", "Sign", "Sqrt"]


@layer(41, "Abs")
class Abs(Unary):
    """|x|."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x)


@layer(70, "Neg")
class Neg(Unary):
    """-x, of integers too."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return -x

    def integers(self, x: np.ndarray) -> np.ndarray:
        return -x


@layer(176, "Sign")
class Sign(Unary):
    """1, -1, else x itself (0, NaN)."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return np.sign(x)


@layer(130, "Sqrt")
class Sqrt(Unary):
    """sqrt(x)."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return np.sqrt(x)


@layer(138, "Rsqrt")
class Rsqrt(Unary):
    """1 / sqrt(x)."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return in_double(lambda v: 1.0 / np.sqrt(v), x)


@layer(185, "Reciprocal")
class Reciprocal(Unary):
    """1 / x, and 0 where x is 0."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return np.divide(np.float32(1), x, out=np.zeros_like(x), where=x != 0)


@layer(186, "Floor")
class Floor(Unary):
    """The largest integer <= x."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return np.floor(x)


@layer(195, "Ceil")
class Ceil(Unary):
    """The smallest integer >= x."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return np.ceil(x)


@layer(141, "Exp")
class Exp(Mapped):
    """e**x."""

    def function(self) -> tuple[str, float, float]:
        return "EXP", 0.0, 0.0


@layer(184, "Log")
class Log(Mapped):
    """Natural logarithm."""

    def function(self) -> tuple[str, float, float]:
        return "LOG", 0.0, 0.0


@layer(307, "Erf")
class Erf(Mapped):
    """The error function."""

    def function(self) -> tuple[str, float, float]:
        return "ERF" if is_exact() else "FAST_ERF", 0.0, 0.0


@layer(329, "Not")
class Not(Layer):
    """1 where x is 0, else 0; INT8 only, which stands for booleans in TNN."""

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.INT8)
        return self

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [np.asarray(inputs[0] == 0, np.int8)]
