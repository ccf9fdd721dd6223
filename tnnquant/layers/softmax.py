"""Softmax and LogSoftmax (reference, 5.5)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["LogSoftmax", "Softmax"]


@layer(21, "Softmax", "SoftmaxCaffe", "Softmax_nhwc")
class Softmax(Layer):
    """exp(x - max) / sum along an axis."""

    axis: int = param("int", 1)


@layer(330, "LogSoftmax")
class LogSoftmax(Layer):
    """The logarithm of the softmax; -inf where that is 0."""

    axis: int = param("int", 1)
