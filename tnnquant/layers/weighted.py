"""What is asked of layers by family: those with int8 weights, and those that fuse an activation.

Code outside of the layers narrows with ``isinstance(layer, Weighted)`` where it has to find out, and with
``layer.expect(Weighted)`` where it knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.layers.base import Layer, QuantRole

__all__ = ["FusesActivation", "Weighted", "fused_activation", "fuses_nothing"]


class Weighted(Layer):
    """Mixin: role WEIGHTED, a matrix of weights for each output channel and maybe a bias."""

    QUANT = QuantRole.WEIGHTED
    WEIGHTS: ClassVar[str] = "filter"
    """The name of the tensor of weights."""
    BIAS_FLAG: ClassVar[str] = "bias"
    """The parameter that says whether there is a bias."""

    @property
    def groups(self) -> int:
        """In how many groups inputs and outputs are parted that share no weights."""
        return 1

    @property
    def outputs(self) -> int:
        """Output channels, as the parameters say."""
        raise NotImplementedError

    def weight_array(self, tensors: Mapping[str, Tensor]) -> np.ndarray:
        """The weights as float32 (output channels, ...); the input channels follow from the number of values."""
        raise NotImplementedError

    def bias_array(self, tensors: Mapping[str, Tensor]) -> np.ndarray | None:
        """The bias as float32 (output channels,), or None."""
        raise NotImplementedError


class FusesActivation(Layer):
    """Mixin: the convolution family, which applies an activation to its results (0 none, 1 ReLU, 2 ReLU6, 256 swish).

    Subclasses have the parameter ``activation_type``.
    """

    activation_type: int

    def with_activation(self, code: int) -> Self:
        """The layer with another activation."""
        changes: dict[str, Any] = {"activation_type": code}  # a parameter of the subclass
        return replace(self, **changes)


def fused_activation(layer: Layer) -> int:
    """The code of the activation that a layer applies to its own results; 0 for none."""
    return layer.activation_type if isinstance(layer, FusesActivation) else 0


def fuses_nothing(layer: Layer) -> bool:
    """Whether a layer is of the convolution family and applies no activation: one after it may be fused into it."""
    return isinstance(layer, FusesActivation) and layer.activation_type == 0
