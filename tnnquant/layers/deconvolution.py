"""2-D deconvolution, that is transposed convolution (docs/tnn-format.md, 4.2, 5.1, 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm, prod
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.kernels.geometry import SWISH
from tnnquant.layers.base import BlobSpec, channels_last, from_channels_last, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.convolution import (
    EXPLICIT,
    SAME,
    VALID,
    Axis,
    bias_array,
    check_groups,
    filter_array,
    swish_inplace,
)
from tnnquant.layers.windowed import Windowed

__all__ = ["Deconvolution"]

FULL, SAME_TRANSPOSED = 2, 3
#: A plan has a convolution for each of stride_h * stride_w remainders; beyond so many, making it takes too long.
_MOST_PHASES = 1 << 14


def transposed_axis(size: int, extent: int, stride: int, pad: int, pad_type: int) -> Axis:
    """Output size and begin pad of a deconvolution along one axis (docs/tnn-format.md, 4.2).

    Raises
    ------
    GraphError
        Another pad type, a stride below 1, or an output without elements.
    """
    if stride < 1:
        raise GraphError(f"stride is {stride}, expected at least 1")
    full = (size - 1) * stride + extent
    if pad_type == EXPLICIT:
        out, begin = full - 2 * pad, pad
    elif pad_type in (SAME, VALID, FULL, SAME_TRANSPOSED):
        more = {VALID: max(extent - stride, 0), FULL: -(stride + extent - 2)}.get(pad_type, 0)
        out = size * stride + more
        total = full - out
        if pad_type == SAME_TRANSPOSED:
            total = max(total, 0)
            begin = total - total // 2
        else:
            begin = int(total / 2)  # toward zero
    else:
        raise GraphError(
            f"pad_type is {pad_type}, expected -1 (explicit), 0 (SAME), 1 (VALID), 2 (FULL) or 3 (SAME, transposed)"
        )
    if out < 1:
        raise GraphError(f"an input of {size} with stride {stride}, window {extent} and pad {pad}: the output is empty")
    return Axis(out, begin)


@dataclass
class _State:
    """What forward needs: a kernel's plan, or the weights where TNN's search for taps is followed step by step."""

    plan: Any = None
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    memory: Any = None


@layer(22, "Deconvolution")
class Deconvolution(Windowed):
    """Transposed convolution with bias and a fused activation; filter (groups, C/G, OC/G, KH, KW).

    Where both stride and dilation exceed 1 along an axis, TNN's search for the taps of an output finds others than the
    definition has. This layer finds the same as TNN (docs/tnn-format.md, 9).
    """

    def axes(self, dims: Sequence[int]) -> tuple[Axis, Axis]:
        """Output size and begin pad along height and width for an input of these dims."""
        if len(dims) != 4:
            raise GraphError(f"the input has rank {len(dims)}, expected 4 (N, C, H, W)")
        if min(self.kernel_h, self.kernel_w, self.dilation_h, self.dilation_w) < 1:
            raise GraphError(
                f"the kernel is {self.kernel_h}x{self.kernel_w} with dilation {self.dilation_h}x{self.dilation_w}, "
                "expected at least 1x1"
            )
        extent_h, extent_w = self.dilation_h * (self.kernel_h - 1) + 1, self.dilation_w * (self.kernel_w - 1) + 1
        return (
            transposed_axis(dims[2], extent_h, self.stride_h, self.pad_h, self.pad_type),
            transposed_axis(dims[3], extent_w, self.stride_w, self.pad_w, self.pad_type),
        )

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs[:1], 1)
        height, width = self.axes(inputs[0].dims)
        return replace(self, pad_h=height.begin, pad_w=width.begin)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        height, width = self.axes(inputs[0].dims)
        check_groups(self.group, inputs[0].dims[1], self.output_channel)
        return [BlobSpec((inputs[0].dims[0], self.output_channel, height.size, width.size), inputs[0].dtype)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> _State:
        from tnnquant.kernels.deconv_f32 import plan_deconv_f32

        channels = inputs[0].dims[1]
        shape = (
            self.group, channels // self.group, self.output_channel // self.group, self.kernel_h, self.kernel_w
        )  # fmt: skip
        weight = filter_array(tensors, shape, "G*C/G*OC/G*KH*KW")
        bias = bias_array(tensors, self.bias, self.output_channel)
        goes_astray = min(self.stride_h, self.dilation_h) > 1 or min(self.stride_w, self.dilation_w) > 1
        if goes_astray or self.stride_h * self.stride_w > _MOST_PHASES:
            return _State(weight=weight, bias=bias)
        height, width = self.axes(inputs[0].dims)
        geometry = self.geometry(height.begin, width.begin, self.dilation_h, self.dilation_w)
        return _State(plan=plan_deconv_f32(weight, bias, geometry, (height.size, width.size)))

    def forward(self, inputs: Sequence[np.ndarray], state: _State) -> list[np.ndarray]:
        from tnnquant.kernels.deconv_f32 import deconv2d_f32

        if state.plan is None:
            return [self._searching_taps(inputs[0], state)]
        x = channels_last(inputs[0])
        size = [axis.size for axis in self.axes(inputs[0].shape)]
        out = np.empty((len(x), *size, self.output_channel), np.float32)
        out = deconv2d_f32(x, state.plan, self.kernel_activation, out)
        if self.activation_type == SWISH:
            swish_inplace(out)
        return [from_channels_last(out)]

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: _State) -> np.ndarray | None:
        from tnnquant.kernels.deconv_f32 import deconv2d_f32_rows

        if state.plan is None or self.activation_type == SWISH:
            return None
        x, out = inputs[0].transpose(0, 2, 3, 1), outputs[0].transpose(0, 2, 3, 1)
        rows, state.memory = deconv2d_f32_rows(x, state.plan, self.kernel_activation, out)
        return rows

    def _searching_taps(self, x: np.ndarray, state: _State) -> np.ndarray:
        """By TNN's own search for taps, which is another where stride and dilation both exceed 1 along an axis."""
        height, width = self.axes(x.shape)
        weight = state.weight
        assert weight is not None  # prepared so, where there is no plan
        rows = taps_of_tnn(x.shape[2], self.kernel_h, self.stride_h, self.dilation_h, height)
        columns = taps_of_tnn(x.shape[3], self.kernel_w, self.stride_w, self.dilation_w, width)
        images, groups = x.shape[0], self.group
        grouped = np.zeros((images, groups, self.output_channel // groups, height.size, width.size), np.float32)
        source = np.ascontiguousarray(x).reshape(images, groups, -1, *x.shape[2:])
        for kh in range(self.kernel_h):
            for kw in range(self.kernel_w):
                # The input that each output position meets at this tap, 0 where it meets none.
                met = rows[:, kh] @ source @ columns[:, kw].T
                grouped += np.einsum("ngcyx,gco->ngoyx", met, weight[..., kh, kw])
        out = grouped.reshape(images, self.output_channel, height.size, width.size)
        if state.bias is not None:
            out += state.bias[:, None, None]
        if self.kernel_activation:
            np.maximum(out, np.float32(0), out=out)
        if self.kernel_activation == 2:
            np.minimum(out, np.float32(6), out=out)
        if self.activation_type == SWISH:
            swish_inplace(out)
        return out

    def macs(self, inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec]) -> int:
        return prod(inputs[0].dims) * (self.output_channel // max(self.group, 1)) * self.kernel_h * self.kernel_w


def taps_of_tnn(size: int, kernel: int, stride: int, dilation: int, axis: Axis) -> np.ndarray:
    """Which input meets which tap at each output position, by TNN's search (docs/tnn-format.md, 9).

    Returns
    -------
    float32 (output, kernel, input)
        1 where they meet, else 0. Taps that TNN would read outside the kernel or the input count as 0.
    """
    table = np.zeros((axis.size, kernel, size), np.float32)
    step = lcm(dilation, stride) // dilation
    for position in range(axis.size):
        o = position + axis.begin
        last = min((size - 1) * stride, int(o / stride) * stride)
        least = int((o - last + dilation - 1) / dilation)
        if (o - least * dilation) % stride:
            continue  # only the bias
        start = max(0, int((o + dilation - kernel * dilation + stride - 1) / stride) * stride)
        tap = int((o - start) / dilation)
        source = int((o - tap * dilation) / stride)
        while tap >= least:
            if 0 <= tap < kernel and 0 <= source < size:
                table[position, tap, source] = 1
            tap -= step
            source += step * dilation // stride
    return table
