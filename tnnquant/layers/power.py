"""Power: an affine function raised to a power (docs/tnn-format.md, 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.elementwise import Unary, in_double
from tnnquant.layers.fields import param

__all__ = ["Power"]


@layer(69, "Power")
class Power(Unary):
    """(x * scale + shift) ** exponent."""

    exponent: float = param("float", 1.0)
    scale: float = param("float", 1.0)
    shift: float = param("float", 0.0)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        return self

    def compute(self, x: np.ndarray) -> np.ndarray:
        base = x * np.float32(self.scale) + np.float32(self.shift)
        if self.exponent == 1:
            return base
        if self.exponent == 2:
            return base * base
        return in_double(lambda v: np.power(v, self.exponent), base)
