"""1-D and 3-D convolution (docs/tnn-format.md, 4.2, 5.1), computed by the 2-D kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.kernels.geometry import SWISH
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.convolution import (
    EXPLICIT,
    Axis,
    bias_array,
    check_groups,
    filter_array,
    refuse_giant_span,
    sliding_axis,
    swish_inplace,
)
from tnnquant.layers.fields import FlagField, TensorField, TextField, param
from tnnquant.layers.weighted import FusesActivation

__all__ = ["Convolution1D", "Convolution3D"]

FILTER_AND_BIAS = (
    TextField(),
    FlagField("has_bias", of="bias"),
    TensorField("filter"),
    TensorField("bias", when="has_bias"),
)
_GATHER_BYTES = 64 << 20
"""Memory for the neighbouring slices of some output slices of a 3-D convolution, side by side."""


@dataclass(frozen=True)
class _Flat:
    """A 2-D convolution made ready: its kernel's arguments but for the arrays."""

    geometry: Any
    packed: Any
    depthwise: bool
    activation: int

    @classmethod
    def of(cls, weight: np.ndarray, bias: np.ndarray | None, groups: int, activation: int, **geometry: int) -> _Flat:
        """``weight``: float32 (OC, C/groups, KH, KW); ``geometry``: fields of ConvGeometry after the kernel's."""
        from tnnquant.kernels.geometry import ConvGeometry
        from tnnquant.kernels.pack_f32 import pack_conv_f32, pack_depthwise_f32

        depthwise = weight.shape[1] == 1 and groups > 1
        packed = pack_depthwise_f32(weight, bias) if depthwise else pack_conv_f32(weight, bias, groups)
        window = ConvGeometry(weight.shape[2], weight.shape[3], groups=groups, **geometry)
        return cls(window, packed, depthwise, activation)

    def run(self, x: np.ndarray, out: np.ndarray) -> None:
        """From x, float32 (N, H, W, C), into out, float32 (N, OH, OW, OC)."""
        from tnnquant.kernels.conv_f32 import conv2d_f32
        from tnnquant.kernels.depthwise_f32 import depthwise_f32

        fused = self.activation if self.activation in (1, 2) else 0
        (depthwise_f32 if self.depthwise else conv2d_f32)(x, self.packed, self.geometry, fused, out)
        if self.activation == SWISH:
            swish_inplace(out)


def _check_window(kernel: Sequence[int], dilation: Sequence[int]) -> None:
    if min(kernel) < 1 or min(dilation) < 1:
        raise GraphError(f"the kernel is {tuple(kernel)} with dilation {tuple(dilation)}, expected at least 1")


@layer(203, "Convolution1D")
class Convolution1D(FusesActivation):
    """1-D convolution with bias and a fused activation. On file the end pad stands before the begin pad.

    With pad types SAME and VALID TNN does not count the dilation in the window's size.
    """

    RESOURCE = FILTER_AND_BIAS

    group: int = param(default=0)
    input_channel: int = param(default=0)
    output_channel: int = param(default=0)
    kernel: int = param(default=0)
    stride: int = param(default=0)
    pad_end: int = param(default=0)
    pad_begin: int = param(default=0)
    bias: int = param(default=0)
    pad_type: int = param(default=0)
    dilation: int = param(default=1)
    activation_type: int = param(default=0)

    def axis(self, dims: Sequence[int]) -> Axis:
        """The window for an input of these dims."""
        if len(dims) != 3:
            raise GraphError(f"the input is {tuple(dims)}, expected 3 dims (N, C, H)")
        _check_window((self.kernel,), (self.dilation,))
        extent = self.dilation * (self.kernel - 1) + 1 if self.pad_type == EXPLICIT else self.kernel
        axis = sliding_axis(dims[2], extent, self.stride, (self.pad_begin, self.pad_end), self.pad_type)
        refuse_giant_span(dims[1], axis)
        return axis

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs[:1], 1)
        axis = self.axis(inputs[0].dims)
        if self.pad_type == EXPLICIT:
            return self
        total = (axis.size - 1) * self.stride + self.kernel - inputs[0].dims[2]
        return replace(self, pad_begin=axis.begin, pad_end=max(total - axis.begin, 0))

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        axis = self.axis(inputs[0].dims)
        check_groups(self.group, inputs[0].dims[1], self.output_channel)
        return [BlobSpec((inputs[0].dims[0], self.output_channel, axis.size), inputs[0].dtype)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> _Flat:
        shape = (self.output_channel, inputs[0].dims[1] // self.group, self.kernel)
        weight = filter_array(tensors, shape, "OC*C/G*K")[..., None]
        bias = bias_array(tensors, self.bias, self.output_channel)
        return _Flat.of(
            weight, bias, self.group, self.activation_type,
            stride_h=self.stride, dilation_h=self.dilation, pad_top=self.axis(inputs[0].dims).begin,
        )  # fmt: skip

    def forward(self, inputs: Sequence[np.ndarray], state: _Flat) -> list[np.ndarray]:
        x = np.ascontiguousarray(inputs[0].transpose(0, 2, 1))[:, :, None]
        out = np.empty((x.shape[0], self.axis(inputs[0].shape).size, 1, self.output_channel), np.float32)
        state.run(x, out)
        return [out[:, :, 0].transpose(0, 2, 1)]

    def macs(self, inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec]) -> int:
        return prod(outputs[0].dims) * (inputs[0].dims[1] // max(self.group, 1)) * self.kernel


@layer(201, "Convolution3D")
class Convolution3D(FusesActivation):
    """3-D convolution with bias and a fused activation.

    An output slice is a 2-D convolution of its ``kernel_d`` input slices put side by side as channels.
    """

    RESOURCE = FILTER_AND_BIAS

    group: int = param(default=0)
    input_channel: int = param(default=0)
    output_channel: int = param(default=0)
    kernel_d: int = param(default=0)
    kernel_h: int = param(default=0)
    kernel_w: int = param(default=0)
    stride_d: int = param(default=0)
    stride_h: int = param(default=0)
    stride_w: int = param(default=0)
    pad_d: int = param(default=0)
    pad_h: int = param(default=0)
    pad_w: int = param(default=0)
    bias: int = param(default=0)
    pad_type: int = param(default=0)
    dilation_d: int = param(default=1)
    dilation_h: int = param(default=1)
    dilation_w: int = param(default=1)
    activation_type: int = param(default=0)

    @property
    def _kernel(self) -> tuple[int, int, int]:
        return self.kernel_d, self.kernel_h, self.kernel_w

    def axes(self, dims: Sequence[int]) -> list[Axis]:
        """The window along depth, height and width for an input of these dims."""
        if len(dims) != 5:
            raise GraphError(f"the input is {tuple(dims)}, expected 5 dims (N, C, D, H, W)")
        dilations = (self.dilation_d, self.dilation_h, self.dilation_w)
        _check_window(self._kernel, dilations)
        strides, pads = (self.stride_d, self.stride_h, self.stride_w), (self.pad_d, self.pad_h, self.pad_w)
        axes = [
            sliding_axis(size, dilation * (kernel - 1) + 1, stride, (pad, pad), self.pad_type)
            for size, kernel, dilation, stride, pad in zip(
                dims[2:], self._kernel, dilations, strides, pads, strict=True
            )
        ]
        refuse_giant_span(dims[1] * self.kernel_d, *axes[1:])
        if self.pad_type != EXPLICIT:
            axes[0] = replace(axes[0], begin=max(axes[0].begin, 0))  # TNN clamps the front pad, and no other
        return axes

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs[:1], 1)
        depth, height, width = self.axes(inputs[0].dims)
        return replace(self, pad_d=depth.begin, pad_h=height.begin, pad_w=width.begin)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        sizes = [axis.size for axis in self.axes(inputs[0].dims)]
        check_groups(self.group, inputs[0].dims[1], self.output_channel)
        return [BlobSpec((inputs[0].dims[0], self.output_channel, *sizes), inputs[0].dtype)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> _Flat:
        shape = (self.output_channel, inputs[0].dims[1] // self.group, *self._kernel)
        weight = filter_array(tensors, shape, "OC*C/G*KD*KH*KW").swapaxes(1, 2)
        weight = weight.reshape(self.output_channel, -1, self.kernel_h, self.kernel_w)
        _, height, width = self.axes(inputs[0].dims)
        return _Flat.of(
            weight, bias_array(tensors, self.bias, self.output_channel), self.group, self.activation_type,
            stride_h=self.stride_h, stride_w=self.stride_w, pad_top=height.begin, pad_left=width.begin,
            dilation_h=self.dilation_h, dilation_w=self.dilation_w,
        )  # fmt: skip

    def forward(self, inputs: Sequence[np.ndarray], state: _Flat) -> list[np.ndarray]:
        x = np.ascontiguousarray(inputs[0].transpose(0, 2, 3, 4, 1))
        batch, _, height, width, channels = x.shape
        depth, *sizes = self.axes(inputs[0].shape)
        out = np.empty((batch * depth.size, *(axis.size for axis in sizes), self.output_channel), np.float32)
        slice_bytes = max(4 * height * width * channels * self.kernel_d, 1)
        step = max(_GATHER_BYTES // slice_bytes, 1)
        for first in range(0, len(out), step):
            part = out[first : first + step]
            state.run(self._side_by_side(x, depth, range(first, first + len(part))), part)
        return [out.reshape(batch, depth.size, *out.shape[1:]).transpose(0, 4, 1, 2, 3)]

    def _side_by_side(self, x: np.ndarray, depth: Axis, slices: range) -> np.ndarray:
        """The input slices of some output slices as (slices, H, W, G*KD*C/G); zeros outside the input."""
        _, size, height, width, channels = x.shape
        if self.kernel_d == 1 and self.stride_d == 1 and depth == Axis(size, 0):
            return x.reshape(-1, height, width, channels)[slices.start : slices.stop]
        gathered = np.zeros((len(slices), height, width, self.group, self.kernel_d, channels // self.group), np.float32)
        for position, number in enumerate(slices):
            image, z = divmod(number, depth.size)
            for tap in range(self.kernel_d):
                source = z * self.stride_d - depth.begin + tap * self.dilation_d
                if 0 <= source < size:
                    gathered[position, ..., tap, :] = x[image, source].reshape(height, width, self.group, -1)
        return gathered.reshape(len(slices), height, width, -1)

    def macs(self, inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec]) -> int:
        return prod(outputs[0].dims) * (inputs[0].dims[1] // max(self.group, 1)) * prod(self._kernel)
