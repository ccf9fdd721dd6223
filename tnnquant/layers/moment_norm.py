"""Normalization by mean and variance: InstBatchNormCxx, GroupNorm, LayerNorm (docs/tnn-format.md, 5.5).

Sums, factors and summands are double, as in TNN; the squares are rounded to float32 before they are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.channelwise import channel_values
from tnnquant.layers.checks import check_inputs, check_rank, check_types
from tnnquant.layers.fields import TensorField, param
from tnnquant.layers.movement import contiguous, text

__all__ = ["GroupNorm", "InstanceNorm", "LayerNorm"]

EPS = 9.99999974737875163555145263671875e-06  # 1e-5 in float32


class _Images:
    """A blob (N, C, ...) as kernels see it: (N * C, P, 1), or (N, P, C) if its memory is channels-last."""

    def __init__(self, x: np.ndarray):
        self.batch, self.channels = x.shape[:2]
        last = x.transpose(0, *range(2, x.ndim), 1)
        self.is_last = last.flags.c_contiguous and not x.flags.c_contiguous
        self.array = last if self.is_last else contiguous(x)
        pixels = prod(x.shape[2:])
        self.dims = (self.batch, pixels, self.channels) if self.is_last else (self.batch * self.channels, pixels, 1)

    def sums(self) -> np.ndarray:
        """float64 (2, N, C): of the values and of their squares."""
        from tnnquant.kernels.moments import moments_f32

        return moments_f32(self.array.reshape(self.dims)).reshape(2, self.batch, self.channels)

    def affine(self, k: np.ndarray, b: np.ndarray) -> np.ndarray:
        """``x * k + b``, float64 (N, C) each, in the logical shape."""
        from tnnquant.kernels.moments import affine_f64

        table = self.dims[0], self.dims[2]
        out = np.empty_like(self.array)
        k, b = (np.ascontiguousarray(v).reshape(table) for v in (k, b))
        affine_f64(self.array.reshape(self.dims), k, b, out.reshape(self.dims))
        return out.transpose(0, out.ndim - 1, *range(1, out.ndim - 1)) if self.is_last else out


@layer(43, "InstBatchNormCxx")
class InstanceNorm(Layer):
    """(x - mean) / sqrt(var + eps) * scale[c] + bias[c], statistics per image and channel."""

    channels: int = param("int", 0)
    eps: float = param("float", EPS)

    RESOURCE = (TensorField("scale"), TensorField("bias"))

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        check_rank(inputs, 2)
        return self

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> tuple[np.ndarray, np.ndarray]:
        channels = inputs[0].dims[1]
        scale = channel_values(tensors, "scale", channels)
        if "bias" not in tensors or tensors["bias"].size == 0:
            return scale, np.zeros(channels, np.float32)
        return scale, channel_values(tensors, "bias", channels)

    def forward(self, inputs: Sequence[np.ndarray], state: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
        if not inputs[0].size:
            return [inputs[0]]
        scale, bias = state
        images = _Images(inputs[0])
        with np.errstate(all="ignore"):
            mean, squares = images.sums() / images.dims[1]
            variance = np.maximum(squares - mean * mean, 0.0)
            k = scale / np.sqrt(variance + np.float32(self.eps))
            return [images.affine(k, bias - mean * k)]


class _WithOperands(Layer):
    """The inputs are x, scale and bias."""

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 3)
        check_types(inputs, DataType.FLOAT)
        self.check_operands(inputs[0].dims, [prod(spec.dims) for spec in inputs[1:]], inputs[1].dims)
        return self

    def check_operands(self, dims: Sequence[int], sizes: Sequence[int], scale_dims: Sequence[int]) -> None:
        """Raise GraphError unless scale and bias fit."""
        raise NotImplementedError


@layer(318, "GroupNorm")
class GroupNorm(_WithOperands):
    """The inputs are x, scale (C), bias (C); statistics per image and group of channels."""

    group: int = param("int", 0)
    eps: float = param("float", EPS)

    def check_operands(self, dims: Sequence[int], sizes: Sequence[int], scale_dims: Sequence[int]) -> None:
        if len(dims) < 2:
            raise GraphError(f"the input is {text(dims)}, expected at least 2 dims")
        if self.group < 1 or dims[1] % self.group:
            raise GraphError(f"{dims[1]} channels cannot be parted into {self.group} groups")
        if any(size != dims[1] for size in sizes):
            raise GraphError(f"scale and bias have {sizes[0]} and {sizes[1]} values, expected {dims[1]}, the channels")

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        if not inputs[0].size:
            return [inputs[0]]
        images = _Images(inputs[0])
        scale, bias = (x.reshape(-1).astype(np.float64) for x in inputs[1:])
        each = images.channels // self.group
        with np.errstate(all="ignore"):
            sums = images.sums().reshape(2, images.batch, self.group, each).sum(-1)
            mean, squares = sums / (each * images.dims[1])
            v = 1.0 / np.sqrt(squares - mean * mean + np.float32(self.eps))
            mean, v = mean.repeat(each, axis=1), v.repeat(each, axis=1)
            return [images.affine(v * scale, (bias - mean * v * scale).astype(np.float32).astype(np.float64))]


@layer(326, "LayerNorm")
class LayerNorm(_WithOperands):
    """The inputs are x, scale, bias; statistics over the last ``reduce_dims_size`` axes, those of scale and bias."""

    ANY_LAYOUT = True

    reduce_dims_size: int = param("int", 0)
    eps: float = param("float", EPS)

    def check_operands(self, dims: Sequence[int], sizes: Sequence[int], scale_dims: Sequence[int]) -> None:
        count = self.reduce_dims_size
        if not 1 <= count <= len(dims):
            raise GraphError(f"reduce_dims_size is {count}, expected 1 to {len(dims)}, the dims of the input")
        wanted = dims[len(dims) - count :]
        if len(scale_dims) != count or any(size != prod(wanted) for size in sizes):
            raise GraphError(
                f"scale is {text(scale_dims)}, bias has {sizes[1]} values; expected {text(wanted)}, the last dims of "
                "the input"
            )

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        from tnnquant.kernels.moments import layer_norm_f32

        x = contiguous(inputs[0])
        if not x.size:
            return [x]
        k, b = (np.ascontiguousarray(v).reshape(-1) for v in inputs[1:])
        out = np.empty_like(x)
        layer_norm_f32(x.reshape(-1, k.size), k, b, self.eps, out.reshape(-1, k.size))
        return [out]

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> np.ndarray | None:
        from tnnquant.kernels.moments import layer_norm_f32_op

        if not all(x.flags.c_contiguous for x in (*inputs, *outputs)) or not inputs[0].size:
            return None
        k, b = (v.reshape(-1) for v in inputs[1:])
        return layer_norm_f32_op(inputs[0].reshape(-1, k.size), k, b, self.eps, outputs[0].reshape(-1, k.size))
