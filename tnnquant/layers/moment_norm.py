"""Normalisation by mean and variance: InstBatchNormCxx, GroupNorm, LayerNorm (reference, 5.5)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, TensorField, layer, param

__all__ = ["GroupNorm", "InstanceNorm", "LayerNorm"]

EPS = 9.99999974737875163555145263671875e-06  # 1e-5 in float32


@layer(43, "InstBatchNormCxx")
class InstanceNorm(Layer):
    """(x - mean) / sqrt(var + eps) * scale[c] + bias[c], statistics per image and channel."""

    channels: int = param("int", 0)
    eps: float = param("float", EPS)

    RESOURCE = (TensorField("scale"), TensorField("bias"))


@layer(318, "GroupNorm")
class GroupNorm(Layer):
    """The inputs are x, scale (C), bias (C); statistics per image and group of channels."""

    group: int = param("int", 0)
    eps: float = param("float", EPS)


@layer(326, "LayerNorm")
class LayerNorm(Layer):
    """The inputs are x, scale, bias; statistics over the last ``reduce_dims_size`` axes, those of scale and bias."""

    reduce_dims_size: int = param("int", 0)
    eps: float = param("float", EPS)
