"""Pad and PadV2: a border around a blob."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Pad", "PadV2"]

INT_MIN = -(2**31)


@layer(44, "Pad")
class Pad(Layer):
    """A border in height, width and channels; ``mode`` 0 constant, 1 reflect, 2 edge."""

    ignored_begin: int = param(default=0)
    ignored_end: int = param(default=0)
    top: int = param(default=INT_MIN)
    bottom: int = param(default=INT_MIN)
    left: int = param(default=INT_MIN)
    right: int = param(default=INT_MIN)
    channel_begin: int = param(default=INT_MIN)
    channel_end: int = param(default=INT_MIN)
    mode: int = param(default=0)
    value: float = param("float", default=0.0)


@layer(316, "PadV2")
class PadV2(Layer):
    """A border on any axis: all begins, then all ends; ``mode`` 0 constant, 1 reflect, 2 edge."""

    pads: tuple = param("ints", default=())
    mode: int = param(default=0)
    value: float = param("float", default=0.0)
