"""PReLU: a learned slope below 0 (docs/tnn-format.md, 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from tnnquant.base.tensor import Tensor
from tnnquant.layers.base import layer
from tnnquant.layers.channelwise import Channelwise, channel_values
from tnnquant.layers.fields import TensorField, TextField, param

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Prelu"]


@layer(35, "PReLU", "PReLU_nhwc")
class Prelu(Channelwise):
    """x, and x * slope below 0; one slope (``channel_shared`` 1) or one per channel."""

    channel_shared: int = param("int", 0)
    has_filler: int = param("int", 0)

    RESOURCE = (TextField(layer_name=False), TensorField("slope"))
    FUNCTION = "PRELU"

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Self:
        parsed = super().parse(tokens)
        return replace(parsed, channel_shared=int(parsed.channel_shared == 1))

    def values(self, tensors: Mapping[str, Tensor], channels: int) -> tuple[np.ndarray, np.ndarray]:
        if self.channel_shared and "slope" in tensors:
            slope = tensors["slope"].float32()[:1]  # however many there are
            tensors = {"slope": Tensor(slope)}
        slope = channel_values(tensors, "slope", channels)
        return slope, slope
