"""Layers as TNN's ARM device computes them, where that differs visibly from the naive device.

They stand in for those of a model when it is run as on ARM, and are never in a file. Measured with TNN f0cb08129
(device/arm/acc: neon_mathfun.h, compute/compute_int8.cc, arm_reformat_layer_acc.cc).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.layers.activation import Sigmoid, Swish
from tnnquant.layers.base import BlobSpec, Layer
from tnnquant.layers.binary import Add
from tnnquant.layers.convolution import SWISH, Convolution
from tnnquant.layers.int8 import as_pixels, from_pixels
from tnnquant.layers.reformat import Reformat

__all__ = ["as_on_arm", "fast_sigmoid", "sigmoid"]

_F32 = np.float32


def fast_sigmoid(x: np.ndarray) -> np.ndarray:
    """``1 / (1 + (1 - x/256)^256)`` of float32 by eight squarings, as below PRECISION_HIGH; 1 from 256 on."""
    with np.errstate(all="ignore"):
        power = _F32(1) - x * _F32(1 / 256)
        for _ in range(8):
            power = power * power
        return np.where(x >= 256, _F32(1), _reciprocal(power + _F32(1)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-x))`` of float32 with the reciprocal of PRECISION_HIGH."""
    with np.errstate(all="ignore"):
        return _reciprocal(np.exp(-x.astype(np.float64)).astype(_F32) + _F32(1))


def _reciprocal(x: np.ndarray) -> np.ndarray:
    """The estimate of FRECPE, of 8 bits, after one Newton step (FRECPS); x: float32, at least 1."""
    mantissa, exponent = np.frexp(x)  # x = mantissa * 2^exponent, mantissa in 0.5..1
    finite = np.isfinite(x)
    top = np.where(finite, mantissa * 512, 256).astype(np.int64)
    estimate = np.ldexp(((1 << 19) // (2 * top + 1) + 1) // 2 / 512.0, 1 - exponent)
    step = (2 - x.astype(np.float64) * estimate).astype(_F32)
    return np.where(finite, estimate.astype(_F32) * step, np.where(np.isnan(x), x, _F32(0))).astype(_F32)


class _Approximate(Layer):
    """Mixin: layers of a sigmoid."""

    SIGMOID: ClassVar = staticmethod(fast_sigmoid)

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> np.ndarray | None:
        return None


class _FastSigmoid(_Approximate, Sigmoid):
    def compute(self, x: np.ndarray) -> np.ndarray:
        return self.SIGMOID(x)


class _HighSigmoid(_FastSigmoid):
    SIGMOID = staticmethod(sigmoid)


class _LayerSwish(_Approximate, Swish):
    """A swish of its own: never the fast one, at no precision."""

    def compute(self, x: np.ndarray) -> np.ndarray:
        return x * sigmoid(x)


class _FastConvolution(_Approximate, Convolution):
    """A convolution with a fused swish."""

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        linear = Convolution(**{f.name: getattr(self, f.name) for f in fields(self)} | {"activation_type": 0})
        return [x * self.SIGMOID(x) for x in linear.forward(inputs, state)]


class _HighConvolution(_FastConvolution):
    SIGMOID = staticmethod(sigmoid)


class _Pixels(Layer):
    """Mixin: int8 layers in NumPy over pixels (N, H, W, C)."""

    def emit_int8(self, inputs: Any, outputs: Any, state: Any, keep: list) -> np.ndarray | None:
        return None

    def forward_int8(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        made = self.pixels([as_pixels(x) for x in inputs], state)
        return [from_pixels(np.ascontiguousarray(x), spec.dims) for x, spec in zip(made, outputs, strict=True)]

    def pixels(self, inputs: list[np.ndarray], state: Any) -> list[np.ndarray]:
        raise NotImplementedError


class _ReciprocalAdd(_Pixels, Add):
    """``fma(a, scale a, b * scale b) * (1 / scale)``."""

    def pixels(self, inputs: list[np.ndarray], state: Any) -> list[np.ndarray]:
        (scale_a, _), (scale_b, _), (scale, _) = state
        b = inputs[1].astype(_F32) * scale_b
        total = (inputs[0] * scale_a.astype(np.float64) + b).astype(_F32)
        return [_codes(total * _inverse(scale))]


class _ReciprocalReformat(_Pixels, Reformat):
    """``x * (1 / scale)`` where fp32 becomes int8."""

    def pixels(self, inputs: list[np.ndarray], state: Any) -> list[np.ndarray]:
        return [_codes(x * _inverse(params.scale)) for x, params in zip(inputs, state, strict=True)]


def _inverse(scale: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return (1 / scale.astype(np.float64)).astype(_F32)


def _codes(x: np.ndarray) -> np.ndarray:
    """To the nearest, halves away from zero, saturated; NaN becomes 0 (FCVTAS)."""
    real = np.nan_to_num(x.astype(np.float64), nan=0.0)
    return np.clip(np.copysign(np.floor(np.abs(real) + 0.5), real), -128, 127).astype(np.int8)


def as_on_arm(layer: Layer, *, quantized: bool, inputs: int, high: bool) -> Layer:
    """The layer that computes as ARM does; the same one where nothing visible differs.

    Parameters
    ----------
    layer : Layer
    quantized : bool
        Its form.
    inputs : int
        How many blobs it reads.
    high : bool
        With PRECISION_HIGH.
    """
    kind: type[Layer] | None = None
    if quantized:
        if type(layer) is Add and inputs == 2:
            kind = _ReciprocalAdd
        elif type(layer) is Reformat and layer.dst == DataType.INT8 and layer.src == DataType.FLOAT:
            kind = _ReciprocalReformat
    elif type(layer) is Sigmoid:
        kind = _HighSigmoid if high else _FastSigmoid
    elif type(layer) is Swish:
        kind = _LayerSwish
    elif type(layer) is Convolution and layer.activation_type == SWISH:
        kind = _HighConvolution if high else _FastConvolution
    if kind is None:
        return layer
    return kind(**{f.name: getattr(layer, f.name) for f in fields(layer)})
