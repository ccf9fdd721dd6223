"""LRN: division by the energy of neighbouring channels (docs/tnn-format.md, 5.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_rank, check_types
from tnnquant.layers.fields import param

__all__ = ["Lrn"]


@layer(12, "LRN")
class Lrn(Layer):
    """x / (bias + alpha / size * sum of x**2 over the channels around) ** beta.

    The window reaches (size - 1) // 2 channels to both sides: an even size loses one channel, as in TNN.
    """

    alpha: float = param("float")
    beta: float = param("float")
    bias: float = param("float")
    size: int = param("int")

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        check_rank(inputs, 2)
        if self.size < 1:
            raise GraphError(f"size is {self.size}, expected at least 1 channel")
        return self

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        reach = min((self.size - 1) // 2, x.shape[1] - 1)
        with np.errstate(all="ignore"):
            squares = x * x
            energy = np.zeros_like(x)
            for shift in range(-reach, reach + 1):
                here = slice(max(0, -shift), x.shape[1] - max(0, shift))
                there = slice(max(0, shift), x.shape[1] + min(0, shift))
                energy[:, here] += squares[:, there]
            base = np.float32(self.bias) + np.float32(self.alpha) / np.float32(self.size) * energy
            return [x / _power(base, self.beta)]


def _power(x: np.ndarray, exponent: float) -> np.ndarray:
    # The usual exponents without a logarithm: NumPy's power costs as much as a convolution.
    if exponent == 0.75:
        root = np.sqrt(x)
        return root * np.sqrt(root)
    if exponent == 0.5:
        return np.sqrt(x)
    return np.power(x, np.float32(exponent))
