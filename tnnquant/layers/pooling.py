"""2-D pooling (docs/tnn-format.md, 4.3, 5.2, 6.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobScales, BlobSpec, Layer, QuantRole, channels_last, from_channels_last, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.convolution import EXPLICIT, SAME, VALID, Axis
from tnnquant.layers.fields import param
from tnnquant.layers.halves import int8_form
from tnnquant.layers.int8 import PixelInt8

if TYPE_CHECKING:
    from tnnquant.kernels.geometry import PoolGeometry

__all__ = ["Pooling", "pooling_axis", "pooling_kernel"]

MAX, AVERAGE = 0, 1


def pooling_axis(size: int, kernel: int, stride: int, pad: int, pad_type: int, ceil_mode: bool) -> Axis:
    """Output size and begin pad of a pooling along one axis (docs/tnn-format.md, 4.3).

    TNN divides in float32 and has no rule that drops a last window starting in the padding.

    Raises
    ------
    GraphError
        Another pad type, a stride below 1, or an output without elements.
    """
    if stride < 1:
        raise GraphError(f"stride is {stride}, expected at least 1")
    f32 = np.float32
    if pad_type == EXPLICIT:
        rounding = math.ceil if ceil_mode else math.floor
        out = int(rounding(f32(size + 2 * pad - kernel) / f32(stride) + f32(1)))
        begin = pad
    elif pad_type in (SAME, VALID):
        out = math.ceil(f32(size if pad_type == SAME else size - kernel + 1) / f32(stride))
        begin = int(((out - 1) * stride + kernel - size) / 2)
    else:
        raise GraphError(f"pad_type is {pad_type}, expected -1 (explicit), 0 (SAME) or 1 (VALID)")
    if out < 1:
        raise GraphError(f"a window of {kernel} does not fit an input of {size} with pad {pad}: the output is empty")
    return Axis(out, begin)


def pooling_kernel(size: int, extent: int, index: int, dims: Sequence[int]) -> int:
    """Size of a window along one axis: the input dim ``index`` unless that is -1, else ``size``; 0 means ``extent``."""
    if index != -1:
        if not 0 <= index < len(dims):
            raise GraphError(f"the kernel size is taken from dim {index}, the input has dims 0 to {len(dims) - 1}")
        return dims[index]
    if size < 0:
        raise GraphError(f"the kernel size is {size}, expected at least 0")
    return size or extent


@layer(4, "Pooling", "Pooling_split_CC", "Pooling_nhwc", "QuantizedPooling")
class Pooling(Layer):
    """Maximum (``pool_type`` 0) or average over windows; padding is never counted."""

    QUANT = QuantRole.PASS

    pool_type: int = param(default=0)
    kernel_h: int = param(default=0)
    kernel_w: int = param(default=0)
    stride_h: int = param(default=0)
    stride_w: int = param(default=0)
    pad_h: int = param(default=0)
    pad_w: int = param(default=0)
    kernel_index_h: int = param(default=-1)
    kernel_index_w: int = param(default=-1)
    pad_type: int = param(default=0)
    ceil_mode: int = param(default=0)
    is_adaptive: int = param(default=0)
    out_h: int = param(default=0)
    out_w: int = param(default=0)

    @property
    def role(self) -> QuantRole:
        return QuantRole.PASS if self.pool_type == MAX and not self.is_adaptive else QuantRole.NONE

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Self:
        parsed = super().parse(tokens)
        return replace(parsed, kernel_index_w=parsed.kernel_index_h) if parsed.kernel_index_w == -1 else parsed

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        if self.is_adaptive:
            return self
        # The pads that TNN computes are saved; a kernel size that it takes from the input is not.
        check_inputs(inputs[:1], 1)
        height, width = self.axes(inputs[0].dims)
        return replace(self, pad_h=height.begin, pad_w=width.begin)

    def kernel(self, dims: Sequence[int]) -> tuple[int, int]:
        """Height and width of the windows for an input of these dims."""
        if len(dims) != 4:
            raise GraphError(f"the input has rank {len(dims)}, expected 4 (N, C, H, W)")
        return (
            pooling_kernel(self.kernel_h, dims[2], self.kernel_index_h, dims),
            pooling_kernel(self.kernel_w, dims[3], self.kernel_index_w, dims),
        )

    def axes(self, dims: Sequence[int]) -> tuple[Axis, Axis]:
        """The window along height and width for an input of these dims."""
        kernel_h, kernel_w = self.kernel(dims)
        ceil_mode = self.ceil_mode == 1
        return (
            pooling_axis(dims[2], kernel_h, self.stride_h, self.pad_h, self.pad_type, ceil_mode),
            pooling_axis(dims[3], kernel_w, self.stride_w, self.pad_w, self.pad_type, ceil_mode),
        )

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs[:1], 1)
        check_types(inputs[:1], DataType.FLOAT, DataType.INT8)
        if len(inputs[0].dims) != 4:
            raise GraphError(f"the input has rank {len(inputs[0].dims)}, expected 4 (N, C, H, W)")
        batch, channels, *_ = inputs[0].dims
        if self.is_adaptive:
            if min(self.out_h, self.out_w) < 1:
                raise GraphError(f"the output size is {self.out_h}x{self.out_w}, expected at least 1x1")
            return [BlobSpec((batch, channels, self.out_h, self.out_w), inputs[0].dtype)]
        height, width = self.axes(inputs[0].dims)
        return [BlobSpec((batch, channels, height.size, width.size), inputs[0].dtype)]

    def prepare(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]
    ) -> tuple[PoolGeometry, tuple[int, ...]]:
        from tnnquant.kernels.geometry import PoolGeometry

        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT, DataType.INT8)
        size = self.output_specs(inputs, tensors)[0].dims[2:]
        if self.is_adaptive and inputs[0].dtype == DataType.FLOAT:
            return PoolGeometry(1, 1, 1, 1, 0, 0), size  # not read
        return self.window_geometry(inputs[0].dims), size

    def forward(self, inputs: Sequence[np.ndarray], state: tuple[PoolGeometry, tuple[int, ...]]) -> list[np.ndarray]:
        from tnnquant.kernels import pool_f32

        geometry, size = state
        if inputs[0].dtype == np.int8:
            return [self._pool_int8(inputs[0], geometry, size)]
        if self.is_adaptive and self.pool_type == MAX:
            return [_adaptive_max(inputs[0], size)]
        x, kind = channels_last(inputs[0]), self._kind()
        out = np.empty((x.shape[0], *size, x.shape[3]), np.float32)
        return [from_channels_last(pool_f32.pool2d_f32(x, geometry, kind, out))]

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: tuple[PoolGeometry, tuple[int, ...]]
    ) -> np.ndarray | None:
        from tnnquant.kernels.pool_f32 import pool2d_f32_op

        if inputs[0].dtype == np.int8 or (self.is_adaptive and self.pool_type == MAX):
            return None
        x, out = inputs[0].transpose(0, 2, 3, 1), outputs[0].transpose(0, 2, 3, 1)
        return pool2d_f32_op(x, state[0], self._kind(), out)

    def window_geometry(self, dims: Sequence[int]) -> PoolGeometry:
        """The sliding windows for an input of these dims.

        TNN's int8 loop knows no adaptive windows: of an adaptive layer it takes kernel, stride and pad as given.
        """
        from tnnquant.kernels.geometry import PoolGeometry

        if self.is_adaptive:
            return PoolGeometry(self.kernel_h, self.kernel_w, self.stride_h, self.stride_w, self.pad_h, self.pad_w)
        height, width = self.axes(dims)
        return PoolGeometry(*self.kernel(dims), self.stride_h, self.stride_w, height.begin, width.begin)

    def kind_int8(self) -> int:
        """The code of :mod:`tnnquant.kernels.pool_i8` for what is taken of a window of codes."""
        from tnnquant.kernels import pool_i8

        return pool_i8.MAX if self.pool_type == MAX else pool_i8.AVERAGE

    def _pool_int8(self, x: np.ndarray, geometry: PoolGeometry, size: Sequence[int]) -> np.ndarray:
        """An int8 blob without scales: the same loop as over codes."""
        from tnnquant.kernels.pool_i8 import pool2d_i8

        x = channels_last(x)
        out = np.empty((x.shape[0], *size, x.shape[3]), np.int8)
        pool2d_i8(x, geometry, self.kind_int8(), out)
        return from_channels_last(out)

    def _kind(self) -> int:
        from tnnquant.kernels import pool_f32

        if self.is_adaptive:
            return pool_f32.ADAPTIVE_AVERAGE
        return pool_f32.MAX if self.pool_type == MAX else pool_f32.AVERAGE


@int8_form(Pooling)
class PoolingInt8(PixelInt8[Pooling]):
    """Of codes."""

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> PoolGeometry:
        check_inputs(inputs, 1)
        return self.layer.window_geometry(inputs[0].dims)

    def ops(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        from tnnquant.kernels.pool_i8 import pool2d_i8_op

        return pool2d_i8_op(inputs[0], state, self.layer.kind_int8(), outputs[0])


def _adaptive_max(x: np.ndarray, size: Sequence[int]) -> np.ndarray:
    # TNN's CPU device leaves the output untouched; this is what the operator means.
    out = np.empty((*x.shape[:2], *size), np.float32)
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i * x.shape[2] // size[0], -(-(i + 1) * x.shape[2] // size[0]))
            columns = slice(j * x.shape[3] // size[1], -(-(j + 1) * x.shape[3] // size[1]))
            out[:, :, i, j] = x[:, :, rows, columns].max((2, 3))
    return out
