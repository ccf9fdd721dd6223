"""Layers as TNN's devices compute them, where that differs visibly from the naive device.

They stand in for those of a model when it is run as on a device, and are never in a file. Measured with TNN f0cb08129
(device/arm/acc: neon_mathfun.h, compute/compute.cc; device/x86/acc/compute/x86_compute.cc). Layers in int8 are in
:mod:`tnnquant.layers.device_int8`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.kernels.geometry import SWISH
from tnnquant.layers.activation import Sigmoid, Swish
from tnnquant.layers.base import Layer
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.device_int8 import int8_on_device
from tnnquant.layers.pooling import MAX, Pooling

__all__ = ["as_on_device", "fast_sigmoid", "sigmoid"]

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
        made: np.ndarray = x * sigmoid(x)
        return made


class _FastConvolution(_Approximate, Convolution):
    """A convolution with a fused swish."""

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        linear = self.as_kind(Convolution, activation_type=0)
        return [x * self.SIGMOID(x) for x in linear.forward(inputs, state)]


class _HighConvolution(_FastConvolution):
    SIGMOID = staticmethod(sigmoid)


class _ReciprocalAverage(Pooling):
    """Averages as sums by ``1 / count``, not divided by the count."""

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> np.ndarray | None:
        return None

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x, (geometry, size) = inputs[0], state
        if x.dtype != np.float32:
            return super().forward(inputs, state)
        total = np.zeros((*x.shape[:2], *size), _F32)
        count = np.zeros(tuple(size), np.int64)
        for row in range(geometry.kernel_h):
            to_rows, rows = _met(row - geometry.pad_top, geometry.stride_h, x.shape[2], size[0])
            for column in range(geometry.kernel_w):
                to_columns, columns = _met(column - geometry.pad_left, geometry.stride_w, x.shape[3], size[1])
                total[:, :, to_rows, to_columns] += x[:, :, rows, columns]
                count[to_rows, to_columns] += 1
        with np.errstate(all="ignore"):  # windows without any value
            return [total * (1 / count).astype(_F32)]


def _met(offset: int, stride: int, size: int, count: int) -> tuple[slice, slice]:
    """The windows along an axis whose value at an offset lies in the blob, and these values."""
    first = max(0, -(offset // stride))
    last = min(count, (size - 1 - offset) // stride + 1)
    begin = offset + first * stride
    if last <= first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last), slice(begin, begin + (last - first - 1) * stride + 1, stride)


def as_on_device(
    layer: Layer, tensors: Mapping[str, Tensor], device: str, *, quantized: bool, inputs: int, high: bool
) -> Layer:
    """The layer that computes as a device does; the same one where nothing visible differs.

    Parameters
    ----------
    layer : Layer
    tensors : mapping of str to Tensor
        Of its node.
    device : {"arm", "x86"}
    quantized : bool
        Its form.
    inputs : int
        How many blobs it reads.
    high : bool
        With PRECISION_HIGH.
    """
    kind: type[Layer] | None = None
    if quantized:
        kind = int8_on_device(layer, tensors, device, inputs)
    elif type(layer) is Pooling and layer.pool_type != MAX and not layer.is_adaptive:
        kind = _ReciprocalAverage
    elif device != "arm":
        kind = None
    elif type(layer) is Sigmoid:
        kind = _HighSigmoid if high else _FastSigmoid
    elif type(layer) is Swish:
        kind = _LayerSwish
    elif type(layer) is Convolution and layer.activation_type == SWISH:
        kind = _HighConvolution if high else _FastConvolution
    return layer if kind is None else layer.as_kind(kind)
