"""int8 layers as TNN's ARM and x86 devices compute them, where a code may differ from the naive device's.

They stand in for those of a model when it is run as on a device, and are never in a file. Measured with TNN f0cb08129
(device/arm/acc: compute/compute_int8.cc, compute/arm64/GEMM_INT8_4X4.S, arm_reformat_layer_acc.cc,
arm_concat_layer_acc.cc, convolution/arm_conv_int8_layer_common.cc; those of device/x86/acc give the same codes, but for
sums in 16 bits). The devices ignore zero points: so do these layers, which are given none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.layers.base import BlobScales, BlobSpec, Layer
from tnnquant.layers.binary import Add, AddInt8
from tnnquant.layers.concat import Concat, ConcatInt8
from tnnquant.layers.convolution import Convolution, ConvolutionAdd, ConvolutionInt8
from tnnquant.layers.halves import Int8Half
from tnnquant.layers.int8 import as_pixels, from_pixels, int8_quant
from tnnquant.layers.pooling import MAX, Pooling, PoolingInt8
from tnnquant.layers.reformat import Reformat, ReformatInt8

__all__ = ["int8_on_device"]

_F32 = np.float32
_LOWEST = -128
#: A scale below the least normal number makes all codes 0.
_TINY = np.finfo(np.float32).tiny
#: Channels of a blob lie in fours.
_LANES = 4
#: Without dot product, products k and k + 8 of every sixteen are added in 16 bits.
_BLOCK, _APART = 16, 8
#: Two products of -128 by -128 do not fit: their sum comes out lower by this.
_WRAP = 1 << 16
#: A small 1x1 convolution, of at most so many channels, has a kernel of its own that sums exactly.
_SMALL = 32


_Kind = TypeVar("_Kind", bound=Layer, covariant=True)


class _Pixels(Int8Half[_Kind]):
    """Mixin: int8 forms in NumPy over pixels (N, H, W, C)."""

    def emit(self, inputs: Any, outputs: Any, state: Any, keep: list) -> np.ndarray | None:
        return None

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        made = self.pixels([as_pixels(x) for x in inputs], state)
        return [from_pixels(np.ascontiguousarray(x), spec.dims) for x, spec in zip(made, outputs, strict=True)]

    def pixels(self, inputs: list[np.ndarray], state: Any) -> list[np.ndarray]:
        raise NotImplementedError


class _ReciprocalAddInt8(_Pixels[Add], AddInt8):
    """``fma(a, scale a, b * scale b) * (1 / scale)``."""

    def pixels(self, inputs: list[np.ndarray], state: Any) -> list[np.ndarray]:
        (scale_a, _), (scale_b, _), (scale, _) = state
        b = inputs[1].astype(_F32) * scale_b
        total = (inputs[0] * scale_a.astype(np.float64) + b).astype(_F32)
        return [_codes(total * _inverse(scale))]


class _FactorConcatInt8(_Pixels[Concat], ConcatInt8):
    """``x * (scale / output scale)`` where the blobs have one scale each."""

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        parts = [
            x if params is None else _codes(x * _ratio(params[0].scale, params[1].scale))
            for x, params in zip(inputs, state, strict=True)
        ]
        return self.layer.forward(parts, np.dtype(np.int8))


class _ReciprocalReformatInt8(_Pixels[Reformat], ReformatInt8):
    """``x * (1 / scale)`` where fp32 becomes int8."""

    #: The code of 0 / 0: a value of 0 where the scale is 0.
    NAN_CODE = 0

    def pixels(self, inputs: list[np.ndarray], state: Any) -> list[np.ndarray]:
        with np.errstate(invalid="ignore"):  # 0 / 0: a value of 0 where the scale is 0
            return [
                _codes(np.nan_to_num(x * _inverse(params.scale), nan=self.NAN_CODE, posinf=np.inf, neginf=-np.inf))
                for x, params in zip(inputs, state, strict=True)
            ]


class _LowNanReformatInt8(_ReciprocalReformatInt8):
    """As on x86."""

    NAN_CODE = _LOWEST


class _FilledPoolingInt8(PoolingInt8):
    """Maxima start at -127, so that this is what a window gives that lies in the padding as a whole; naive: 0."""

    def emit(self, inputs: Any, outputs: Any, state: Any, keep: list) -> np.ndarray | None:
        return None

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        made = np.array(super().forward(inputs, outputs, state)[0])
        rows, columns = (
            _empty(begin, kernel, stride, size, count)
            for begin, kernel, stride, size, count in (
                (state.pad_top, state.kernel_h, state.stride_h, inputs[0].shape[2], made.shape[2]),
                (state.pad_left, state.kernel_w, state.stride_w, inputs[0].shape[3], made.shape[3]),
            )
        )
        made[:, :, rows[:, None] | columns] = _LOWEST + 1
        return [made]


def _empty(begin: int, kernel: int, stride: int, size: int, count: int) -> np.ndarray:
    """Which windows along an axis hold nothing of the blob, bool (count,)."""
    first = np.arange(count) * stride - begin
    return (first + kernel <= 0) | (first >= size)


def _inverse(scale: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return (1 / scale.astype(np.float64)).astype(_F32)


def _codes(x: np.ndarray) -> np.ndarray:
    """To the nearest, halves away from zero, saturated; NaN becomes 0 (FCVTAS)."""
    real = np.nan_to_num(x.astype(np.float64), nan=0.0)
    return np.clip(np.copysign(np.floor(np.abs(real) + 0.5), real), -128, 127).astype(np.int8)


@dataclass(frozen=True)
class _Sums:
    """What an int8 convolution needs.

    Attributes
    ----------
    weight : float64 (groups, OC / groups, KH, KW, C / groups)
    bias : int64 (OC,)
    factor : float32 (OC,)
        Weight scale / output scale.
    added : float32 (OC,) or None
        Scale of the blob that is added / output scale.
    limit : int8 (OC,)
        The code of 6.
    begin : (int, int)
    size : (int, int)
        Pads and output of height and width.
    wraps : bool
        Whether sums of two products in 16 bits show.
    """

    weight: np.ndarray
    bias: np.ndarray
    factor: np.ndarray
    added: np.ndarray | None
    limit: np.ndarray
    begin: tuple[int, int]
    size: tuple[int, int]
    wraps: bool


class _DeviceSums(_Pixels[Convolution], ConvolutionInt8):
    """An int8 convolution with dilations of its own along both axes; a blob is added in one rounding."""

    #: Sums of two products in 16 bits, as on ARM without dot product.
    IN_16_BITS = False

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> _Sums:
        super().prepare_scaled(tensors, inputs, outputs, scales)  # checks
        layer = self.layer
        count, channels = layer.output_channel, inputs[0].dims[1]
        quant = int8_quant(tensors, scales, count, has_bias=True, what="filter")
        weight = tensors["filter"].data.reshape(layer.group, count // layer.group, -1, layer.kernel_h, layer.kernel_w)
        height, width = layer.axes(inputs[0].dims)
        is_depthwise = layer.group == channels == count
        is_small = layer.fuses_add and channels <= _SMALL and height.size * width.size > count
        added = None if quant.added_scale is None or not layer.fusion else _ratio(quant.added_scale, quant.output_scale)
        with np.errstate(divide="ignore"):
            limit = _codes(np.broadcast_to(_F32(6) / quant.output_scale, (count,)))
        return _Sums(
            weight.transpose(0, 1, 3, 4, 2).astype(np.float64),
            np.zeros(count, np.int64) if quant.bias is None else quant.bias.astype(np.int64),
            np.broadcast_to(_ratio(quant.weight_scale, quant.output_scale), (count,)),
            None if added is None else np.broadcast_to(added, (count,)), limit,
            (height.begin, width.begin), (height.size, width.size),
            self.IN_16_BITS and bool((weight == _LOWEST).any()) and not is_depthwise and not is_small,
        )  # fmt: skip

    def pixels(self, inputs: list[np.ndarray], state: _Sums) -> list[np.ndarray]:
        pairs = zip(np.split(inputs[0], self.layer.group, 3), state.weight, strict=True)
        parts = [self._sums(part, weight, state) for part, weight in pairs]
        total = np.concatenate(parts, 3) + state.bias
        scaled = total.astype(np.int32).astype(_F32) * state.factor
        if self.layer.fusion == 2:
            scaled = np.maximum(scaled, 0)
        if state.added is not None:
            scaled = (scaled + inputs[1] * state.added.astype(np.float64)).astype(_F32)
        codes = _codes(scaled)
        if self.layer.activation_type in (1, 2) and self.layer.fusion != 2:
            codes = np.maximum(codes, 0)
        return [np.minimum(codes, state.limit) if self.layer.activation_type == 2 else codes]

    def _sums(self, x: np.ndarray, weight: np.ndarray, state: _Sums) -> np.ndarray:
        """int64 (N, H, W, OC / groups) of int8 (N, H, W, C / groups)."""
        taps = [
            (self._tap(x, i, j, state), weight[:, i, j])
            for i in range(self.layer.kernel_h)
            for j in range(self.layer.kernel_w)
        ]
        total: Any = sum(x_tap.astype(np.float64) @ part.T for x_tap, part in taps)
        if state.wraps:
            total -= _WRAP * self._overflows(taps)
        return np.asarray(total).astype(np.int64)

    def _tap(self, x: np.ndarray, row: int, column: int, state: _Sums) -> np.ndarray:
        """The codes that one weight of each window meets, 0 beyond the blob."""
        n, h, w, c = x.shape
        made = np.zeros((n, *state.size, c), np.int8)
        rows = np.arange(state.size[0]) * self.layer.stride_h - state.begin[0] + row * self.layer.dilation_h
        columns = np.arange(state.size[1]) * self.layer.stride_w - state.begin[1] + column * self.layer.dilation_w
        in_rows, in_columns = (rows >= 0) & (rows < h), (columns >= 0) & (columns < w)
        to, source = np.ix_(in_rows, in_columns), np.ix_(rows[in_rows], columns[in_columns])
        made[:, to[0], to[1]] = x[:, source[0], source[1]]
        return made

    def _overflows(self, taps: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """How many sums of two products do not fit 16 bits: those of four codes of -128."""
        channels = taps[0][0].shape[-1]
        lanes = channels if channels < _LANES else -(-channels // _LANES) * _LANES
        low_x, low_w = (
            np.concatenate([_widened(pair[side] == _LOWEST, lanes) for pair in taps], -1) for side in (0, 1)
        )
        length = -(-low_x.shape[-1] // _APART) * _APART // _BLOCK * _BLOCK  # a last group of eight is not paired
        pairs = []
        for low in (low_x, low_w):
            blocks = _widened(low, length)[..., :length].reshape(*low.shape[:-1], -1, 2, _APART)
            pairs.append((blocks[..., 0, :] & blocks[..., 1, :]).reshape(*low.shape[:-1], -1).astype(np.float64))
        sums: np.ndarray = pairs[0] @ pairs[1].T
        return sums


def _widened(x: np.ndarray, length: int) -> np.ndarray:
    """The last axis filled up with False to a length, if it is shorter."""
    missing = max(0, length - x.shape[-1])
    return np.concatenate([x, np.zeros((*x.shape[:-1], missing), bool)], -1)


def _ratio(scale: np.ndarray, output: np.ndarray) -> np.ndarray:
    """A scale divided by that of the output; 0 where the latter is 0 or subnormal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(output >= _TINY, scale / output, _F32(0)).astype(_F32)


class _NarrowSums(_DeviceSums):
    IN_16_BITS = True


def int8_on_device(
    layer: Layer, tensors: Mapping[str, Tensor], device: str, inputs: int
) -> type[Layer] | None:
    """The class of the layer that computes as a device does; None where nothing visible differs.

    Parameters
    ----------
    layer : Layer
    tensors : mapping of str to Tensor
        Of its node.
    device : {"arm", "x86"}
    inputs : int
        How many blobs it reads.
    """
    form = _form(layer, tensors, device == "arm", inputs)
    return None if form is None else _with_form(type(layer), form)


def _form(layer: Layer, tensors: Mapping[str, Tensor], is_arm: bool, inputs: int) -> type[Int8Half] | None:
    kind = type(layer)
    if kind is Add and inputs == 2:
        return _ReciprocalAddInt8
    if kind is Concat:
        return _FactorConcatInt8
    if isinstance(layer, Pooling) and layer.pool_type == MAX:
        return _FilledPoolingInt8
    if isinstance(layer, Reformat) and layer.dst == DataType.INT8 and layer.src == DataType.FLOAT:
        return _ReciprocalReformatInt8 if is_arm else _LowNanReformatInt8
    if kind is ConvolutionAdd:
        return _NarrowSums if is_arm else _DeviceSums
    if isinstance(layer, Convolution) and kind is Convolution:
        stored = tensors.get("filter")
        if is_arm and stored is not None and bool(np.any(stored.data == _LOWEST)):
            return _NarrowSums
        return _DeviceSums if layer.dilation_h != layer.dilation_w else None
    return None


def _with_form(kind: type[Layer], form: type[Int8Half]) -> type[Layer]:
    """A layer type with another int8 form."""
    return type(f"Device{kind.__name__}", (kind,), {"INT8": form})
