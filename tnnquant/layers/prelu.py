"""PReLU: a learned slope below 0 (reference, 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tnnquant.layers.base import Layer, TensorField, TextField, layer, param

__all__ = ["Prelu"]


@layer(35, "PReLU", "PReLU_nhwc")
class Prelu(Layer):
    """x, and x * slope below 0; one slope (``channel_shared`` 1) or one a channel."""

    channel_shared: int = param("int", 0)
    has_filler: int = param("int", 0)

    RESOURCE = (TextField(layer_name=False), TensorField("slope"))

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Prelu:
        parsed = super().parse(tokens)
        return replace(parsed, channel_shared=int(parsed.channel_shared == 1))
