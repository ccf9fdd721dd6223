"""1-D and 3-D pooling (docs/tnn-format.md, 4.3, 5.2), computed by the 2-D kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.convolution import EXPLICIT, SAME, VALID
from tnnquant.layers.fields import param
from tnnquant.layers.pooling import MAX, pooling_axis, pooling_kernel

__all__ = ["Pooling1D", "Pooling3D"]


@dataclass(frozen=True)
class _Window:
    """A window along one axis: kernel, stride, begin pad and output size."""

    kernel: int
    stride: int
    begin: int
    size: int


def _window(size: int, kernel: int, stride: int, pad: int, rule: tuple[int, int, int]) -> _Window:
    """The window along one axis; ``rule``: pad_type, ceil_mode, and the stride by which TNN divides computed pads.

    Unlike the 2-D pooling, SAME rounds the output size by ceil_mode, and most of a computed pad is put in front.
    """
    pad_type, ceil_mode, divisor = rule
    if stride < 1 or divisor < 1:
        raise GraphError(f"stride is {min(stride, divisor)}, expected at least 1")
    if pad_type == EXPLICIT:
        axis = pooling_axis(size, kernel, stride, pad, EXPLICIT, ceil_mode == 1)
        return _Window(kernel, stride, axis.begin, axis.size)
    f32 = np.float32
    if pad_type == SAME:
        out = int((math.ceil if ceil_mode == 1 else math.floor)(f32(size) / f32(stride)))
    elif pad_type == VALID:
        out = math.ceil(f32(size - kernel + 1) / f32(stride))
    else:
        raise GraphError(f"pad_type is {pad_type}, expected -1 (explicit), 0 (SAME) or 1 (VALID)")
    if out < 1:
        raise GraphError(f"a window of {kernel} with stride {stride} does not fit an input of {size}: no output")
    total = (out - 1) * stride + kernel - size
    return _Window(kernel, stride, math.ceil(f32(total) / f32(divisor)), out)


def _pool(x: np.ndarray, height: _Window, width: _Window, pool_type: int) -> np.ndarray:
    """Pool x, float32 (N, H, W, C), to float32 (N, OH, OW, C)."""
    from tnnquant.kernels import pool_f32
    from tnnquant.kernels.geometry import PoolGeometry

    geometry = PoolGeometry(height.kernel, width.kernel, height.stride, width.stride, height.begin, width.begin)
    out = np.empty((x.shape[0], height.size, width.size, x.shape[3]), np.float32)
    return pool_f32.pool2d_f32(x, geometry, pool_f32.MAX if pool_type == MAX else pool_f32.AVERAGE, out)


def _whole(size: int) -> _Window:
    return _Window(1, 1, 0, size)


@layer(204, "Pooling1D")
class Pooling1D(Layer):
    """Maximum (``pool_type`` 0) or average over windows of (N, C, H) blobs; padding is never counted."""

    pool_type: int = param(default=0)
    kernel: int = param(default=0)
    stride: int = param(default=0)
    pad: int = param(default=0)
    unused_index: int = param(default=-1)
    kernel_index: int = param(default=-1)
    pad_type: int = param(default=0)
    ceil_mode: int = param(default=0)

    def window(self, dims: Sequence[int]) -> _Window:
        """The window for an input of these dims."""
        if len(dims) != 3:
            raise GraphError(f"the input is {tuple(dims)}, expected 3 dims (N, C, H)")
        kernel = pooling_kernel(self.kernel, dims[2], self.kernel_index, dims)
        return _window(dims[2], kernel, self.stride, self.pad, (self.pad_type, self.ceil_mode, self.stride))

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs[:1], 1)
        return replace(self, pad=self.window(inputs[0].dims).begin)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        window = self.window(inputs[0].dims)
        return [BlobSpec((*inputs[0].dims[:2], window.size), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = np.ascontiguousarray(inputs[0].transpose(0, 2, 1))[:, :, None]
        out = _pool(x, self.window(inputs[0].shape), _whole(1), self.pool_type)
        return [out[:, :, 0].transpose(0, 2, 1)]


@layer(202, "Pooling3D")
class Pooling3D(Layer):
    """Maximum (``pool_type`` 0) or average over windows of (N, C, D, H, W) blobs; padding is never counted."""

    pool_type: int = param(default=0)
    kernel_d: int = param(default=0)
    kernel_h: int = param(default=0)
    kernel_w: int = param(default=0)
    stride_d: int = param(default=0)
    stride_h: int = param(default=0)
    stride_w: int = param(default=0)
    pad_d: int = param(default=0)
    pad_h: int = param(default=0)
    pad_w: int = param(default=0)
    kernel_index_d: int = param(default=-1)
    kernel_index_h: int = param(default=-1)
    kernel_index_w: int = param(default=-1)
    pad_type: int = param(default=0)
    ceil_mode: int = param(default=0)

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Self:
        parsed = super().parse(tokens)
        depth = parsed.kernel_index_d
        return replace(
            parsed,
            kernel_index_h=depth if parsed.kernel_index_h == -1 else parsed.kernel_index_h,
            kernel_index_w=depth if parsed.kernel_index_w == -1 else parsed.kernel_index_w,
        )

    def windows(self, dims: Sequence[int]) -> list[_Window]:
        """The windows along depth, height and width for an input of these dims."""
        if len(dims) != 5:
            raise GraphError(f"the input is {tuple(dims)}, expected 5 dims (N, C, D, H, W)")
        # TNN divides all computed pads by the stride of the height.
        rule = (self.pad_type, self.ceil_mode, self.stride_h)
        axes = (
            (dims[2], self.kernel_d, self.kernel_index_d, self.stride_d, self.pad_d),
            (dims[3], self.kernel_h, self.kernel_index_h, self.stride_h, self.pad_h),
            (dims[4], self.kernel_w, self.kernel_index_w, self.stride_w, self.pad_w),
        )
        return [
            _window(size, pooling_kernel(kernel, size, index, dims), stride, pad, rule)
            for size, kernel, index, stride, pad in axes
        ]

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs[:1], 1)
        depth, height, width = self.windows(inputs[0].dims)
        return replace(self, pad_d=depth.begin, pad_h=height.begin, pad_w=width.begin)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        sizes = [window.size for window in self.windows(inputs[0].dims)]
        return [BlobSpec((*inputs[0].dims[:2], *sizes), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = np.ascontiguousarray(inputs[0].transpose(0, 2, 3, 4, 1))
        batch, size, *image, channels = x.shape
        depth, height, width = self.windows(inputs[0].shape)
        # First every slice, then across the slices: the divisor of an average is the product of the three lengths.
        slices = _pool(x.reshape(-1, *image, channels), height, width, self.pool_type)
        columns = slices.reshape(batch, size, -1, channels)
        out = _pool(columns, depth, _whole(columns.shape[2]), self.pool_type)
        return [out.reshape(batch, depth.size, height.size, width.size, channels).transpose(0, 4, 1, 2, 3)]
