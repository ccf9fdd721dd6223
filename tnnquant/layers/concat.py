"""Concat: inputs side by side along one axis."""

from __future__ import annotations

from tnnquant.layers.base import Layer, QuantRole, layer, param

__all__ = ["Concat"]


@layer(8, "Concat", "Concat_nhwc", "QuantizedConcat")
class Concat(Layer):
    """Inputs side by side along ``axis``; every other dim must match."""

    QUANT = QuantRole.JOIN
    JOINS_CHANNELS = True

    axis: int = param(default=1)
