"""2-D convolution, plain, grouped and depthwise (docs/tnn-format.md, 4.2, 5.1, 6.3, 7.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np

from tnnquant.base.arithmetic import with_sum_mode
from tnnquant.base.memory import refuse_giant
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.kernels.geometry import SWISH
from tnnquant.layers.base import BlobScales, BlobSpec, Layer, channels_last, from_channels_last, layer
from tnnquant.layers.binary import Add
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import param
from tnnquant.layers.halves import int8_form
from tnnquant.layers.int8 import PixelInt8, int8_quant
from tnnquant.layers.movement import text
from tnnquant.layers.weighted import Weighted
from tnnquant.layers.windowed import Windowed

if TYPE_CHECKING:
    from tnnquant.kernels.geometry import ConvGeometry
    from tnnquant.kernels.pack_f32 import PackedConv, PackedDepthwise
    from tnnquant.kernels.pack_i8 import PackedConvI8, PackedDepthwiseI8

    _State: TypeAlias = tuple[ConvGeometry, PackedConv | PackedDepthwise, tuple[int, int]]
    _StateInt8: TypeAlias = tuple[ConvGeometry, PackedConvI8 | PackedDepthwiseI8]

__all__ = [
    "Axis",
    "Convolution",
    "bias_array",
    "check_groups",
    "filter_array",
    "refuse_giant_span",
    "sliding_axis",
    "swish_inplace",
]

SAME, VALID, EXPLICIT = 0, 1, -1


@dataclass(frozen=True)
class Axis:
    """A sliding window along one axis: output size, begin pad (which may be negative), places that all windows span."""

    size: int
    begin: int
    span: int = field(default=0, compare=False)


def sliding_axis(size: int, extent: int, stride: int, pads: tuple[int, int], pad_type: int) -> Axis:
    """Output size and begin pad of a convolution along one axis (docs/tnn-format.md, 4.2).

    Parameters
    ----------
    size, extent, stride : int
        Input size, dilated kernel size, stride.
    pads : tuple of int
        Explicit pads of the beginning and the end.
    pad_type : int
        -1 explicit, 0 SAME, 1 VALID.

    Raises
    ------
    GraphError
        Another pad type, a stride below 1, or an output without elements.
    """
    if stride < 1:
        raise GraphError(f"stride is {stride}, expected at least 1")
    if pad_type == EXPLICIT:
        # C division, toward zero: a window that sticks out by less than a stride still makes one output.
        out = int((size + sum(pads) - extent) / stride) + 1
        begin = pads[0]
    elif pad_type in (SAME, VALID):
        out = -(-(size if pad_type == SAME else size - extent + 1) // stride)
        total = (out - 1) * stride + extent - size
        begin = int(total / 2)  # toward zero: it may be negative, and the window then starts inside
    else:
        raise GraphError(f"pad_type is {pad_type}, expected -1 (explicit), 0 (SAME) or 1 (VALID)")
    if out < 1:
        raise GraphError(f"a window of {extent} does not fit an input of {size} with pads {pads}: the output is empty")
    return Axis(out, begin, (out - 1) * stride + extent)


def refuse_giant_span(channels: int, *axes: Axis) -> None:
    """Raise GraphError if what the windows of a picture span, which kernels copy, cannot fit into memory."""
    refuse_giant((channels, *(axis.span for axis in axes)), 4, "what its windows span")


def filter_array(tensors: Mapping[str, Tensor], shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """The tensor ``filter`` as a float32 array.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of the layer.
    shape : tuple of int
    meaning : str
        Names the dims of ``shape`` in the error: ``OC*C/G*KH*KW``.

    Raises
    ------
    GraphError
        It is missing or of another size.
    """
    if "filter" not in tensors or not tensors["filter"].size:
        raise GraphError("has no filter in the model file; TNN takes no weights from a blob")
    values = tensors["filter"].float32()
    _check_size(values.size, shape, meaning)
    return values.reshape(shape)


def _check_size(size: int, shape: tuple[int, ...], meaning: str) -> None:
    if size != prod(shape):
        raise GraphError(f"filter has {size} values, expected {meaning} = {'*'.join(map(str, shape))} = {prod(shape)}")


def bias_array(tensors: Mapping[str, Tensor], has_bias: int, channels: int) -> np.ndarray | None:
    """The tensor ``bias`` as float32 (channels,); None if the layer has none.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of the layer.
    has_bias : int
        The layer's parameter: 0 means that a bias in the file is not used, as in TNN.
    channels : int

    Raises
    ------
    GraphError
        It is of another size.
    """
    if not has_bias or "bias" not in tensors or not tensors["bias"].size:
        return None
    bias = tensors["bias"].float32()
    if bias.size != channels:
        raise GraphError(f"bias has {bias.size} values, expected OC = {channels}")
    return bias


def check_groups(groups: int, channels: int, out_channels: int) -> None:
    """Raise GraphError unless ``groups`` divides both numbers of channels."""
    if groups < 1 or out_channels < 1 or channels % groups or out_channels % groups:
        raise GraphError(f"{groups} groups do not divide {channels} input and {out_channels} output channels")


@layer(
    1,
    "Convolution",
    "Convolution_nhwc",
    "QuantizedConvolution",
    "QuantizedConvolution_nhwc",
    "DynamicRangeQuantizedConvolution",
)
class Convolution(Windowed, Weighted):
    """2-D convolution with bias and a fused activation (0 none, 1 ReLU, 2 ReLU6, 256 swish).

    TNN uses ``dilation_h`` for both axes in the arithmetic; ``dilation_w`` only shapes the output (docs/tnn-format.md,
    5.1).
    """

    @property
    def groups(self) -> int:
        return self.group

    @property
    def outputs(self) -> int:
        return self.output_channel

    @property
    def rectifies(self) -> bool:
        return self.activation_type in (1, 2)

    @property
    def depthwise_1x1(self) -> bool:
        """Whether each output is one input channel times a number, and a bias."""
        return (self.group, self.kernel_h, self.kernel_w) == (self.output_channel, 1, 1)

    @property
    def fuses_add(self) -> bool:
        window = (self.group, self.kernel_h, self.kernel_w, self.stride_h, self.stride_w)
        return window == (1, 1, 1, 1, 1) and (self.pad_h, self.pad_w) == (0, 0)

    def axes(self, dims: Sequence[int]) -> tuple[Axis, Axis]:
        """The window along height and width for an input of these dims."""
        if len(dims) != 4:
            raise GraphError(f"the input has rank {len(dims)}, expected 4 (N, C, H, W)")
        if min(self.kernel_h, self.kernel_w) < 1:
            raise GraphError(f"the kernel is {self.kernel_h}x{self.kernel_w}, expected at least 1x1")
        if min(self.dilation_h, self.dilation_w) < 1:
            raise GraphError(f"the dilation is {self.dilation_h}x{self.dilation_w}, expected at least 1x1")
        height = sliding_axis(
            dims[2], self.dilation_h * (self.kernel_h - 1) + 1, self.stride_h, (self.pad_h,) * 2, self.pad_type
        )
        width = sliding_axis(
            dims[3], self.dilation_w * (self.kernel_w - 1) + 1, self.stride_w, (self.pad_w,) * 2, self.pad_type
        )
        refuse_giant_span(dims[1], height, width)
        return height, width

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs[:1], 1)
        height, width = self.axes(inputs[0].dims)
        return replace(self, pad_h=height.begin, pad_w=width.begin)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_types(inputs[:1], DataType.FLOAT, DataType.INT8)
        height, width = self.axes(inputs[0].dims)
        check_groups(self.group, inputs[0].dims[1], self.output_channel)
        return [BlobSpec((inputs[0].dims[0], self.output_channel, height.size, width.size), inputs[0].dtype)]

    def weight_shape(self, channels: int) -> tuple[int, int, int, int]:
        """(OC, C/G, KH, KW) for an input of ``channels`` channels."""
        return self.output_channel, channels // self.group, self.kernel_h, self.kernel_w

    def weight_array(self, tensors: Mapping[str, Tensor]) -> np.ndarray:
        """The weights as float32 (OC, C/G, KH, KW); the input channels follow from the number of values."""
        if "filter" not in tensors or not tensors["filter"].size:
            raise GraphError("has no filter in the model file; TNN takes no weights from a blob")
        values = tensors["filter"].float32()
        per_channel = self.output_channel * self.kernel_h * self.kernel_w
        if per_channel < 1 or values.size % per_channel:
            raise GraphError(
                f"filter has {values.size} values, expected a multiple of OC*KH*KW = "
                f"{self.output_channel}*{self.kernel_h}*{self.kernel_w} = {per_channel}"
            )
        return values.reshape(self.output_channel, -1, self.kernel_h, self.kernel_w)

    def bias_array(self, tensors: Mapping[str, Tensor]) -> np.ndarray | None:
        """The bias as float32 (OC,), or None."""
        return bias_array(tensors, self.bias, self.output_channel)

    def _geometry(self, dims: Sequence[int]) -> ConvGeometry:
        height, width = self.axes(dims)
        return self.geometry(height.begin, width.begin, self.dilation_h, self.dilation_h)

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> _State:
        from tnnquant.kernels.pack_f32 import pack_conv_f32, pack_depthwise_f32

        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        if tensors.get("filter") is not None and tensors["filter"].dtype == DataType.INT8:
            tensors = self.widened(tensors)
        weight = filter_array(tensors, self.weight_shape(inputs[0].dims[1]), "OC*C/G*KH*KW")
        bias = self.bias_array(tensors)
        height, width = self.axes(inputs[0].dims)
        depthwise = weight.shape[1] == 1 and self.group > 1
        packed = pack_depthwise_f32(weight, bias) if depthwise else pack_conv_f32(weight, bias, self.group)
        return self._geometry(inputs[0].dims), packed, (height.size, width.size)

    def absorbed(self, following: Layer, state: _State) -> Layer | None:
        from tnnquant.kernels.pack_f32 import PackedDepthwise

        if type(self) is not Convolution or self.activation_type == SWISH:
            return None
        if following.FUSED_CODE:
            return replace(self, activation_type=following.FUSED_CODE) if self.activation_type == 0 else None
        if isinstance(state[1], PackedDepthwise) or type(following) is not Add:
            return None
        return self.as_kind(ConvolutionSum)

    def forward(self, inputs: Sequence[np.ndarray], state: _State) -> list[np.ndarray]:
        from tnnquant.kernels.conv_f32 import conv2d_f32
        from tnnquant.kernels.depthwise_f32 import depthwise_f32
        from tnnquant.kernels.pack_f32 import PackedDepthwise

        geometry, packed, size = state
        x = channels_last(inputs[0])
        out = np.empty((x.shape[0], *size, self.output_channel), np.float32)
        fused = with_sum_mode(self.kernel_activation)
        if isinstance(packed, PackedDepthwise):
            depthwise_f32(x, packed, geometry, fused, out)
        else:
            conv2d_f32(x, packed, geometry, fused, out, *self._sum([channels_last(other) for other in inputs[1:]]))
        if self.activation_type == SWISH:
            swish_inplace(out)
        return [from_channels_last(out)]

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: _State) -> np.ndarray | None:
        from tnnquant.kernels.conv_f32 import conv2d_f32_op
        from tnnquant.kernels.depthwise_f32 import depthwise_f32_op
        from tnnquant.kernels.pack_f32 import PackedDepthwise

        if self.activation_type == SWISH:
            return None
        geometry, packed, _ = state
        fused = with_sum_mode(self.kernel_activation)
        x, *others, out = (blob.transpose(0, 2, 3, 1) for blob in (*inputs, outputs[0]))
        if isinstance(packed, PackedDepthwise):
            return depthwise_f32_op(x, packed, geometry, fused, out)
        return conv2d_f32_op(x, packed, geometry, fused, out, *self._sum(others))

    def _sum(self, others: Sequence[np.ndarray]) -> tuple[np.ndarray | None, int]:
        """What the fp32 kernel adds to its results, channels last, and the activation after that."""
        return None, 0

    def with_add(self) -> ConvolutionAdd:
        return self.as_kind(ConvolutionAdd, fusion=2 if self.activation_type else 1)

    @property
    def fusion(self) -> int:
        """Where a fused Add comes: 0 there is none, 1 before the activation, 2 after it."""
        return 0

    def widened(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if "filter" not in tensors or "scale" not in tensors:
            raise GraphError("has no int8 filter with scales in the model file")
        scale = tensors["scale"].float32()
        if scale.size not in (1, self.output_channel):
            raise GraphError(f"the filter has {scale.size} scales, expected 1 or OC = {self.output_channel}")
        values = tensors["filter"].data
        if self.output_channel < 1 or values.size % self.output_channel:
            raise GraphError(f"filter has {values.size} values, expected a multiple of OC = {self.output_channel}")
        weight = values.reshape(self.output_channel, -1).astype(np.float32) * scale.reshape(-1, 1)
        kept = {name: tensor for name, tensor in tensors.items() if name not in ("scale", "zero_point")}
        return {**kept, "filter": Tensor(weight.reshape(-1), tensors["filter"].dims)}

    def why_not_int8(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> str | None:
        if "filter" not in tensors or not tensors["filter"].size:
            return "its weights are not in the model file"
        if self.activation_type not in (0, 1, 2):
            return f"TNN's int8 form ignores its activation {self.activation_type}"
        return None

    def macs(self, inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec]) -> int:
        per_output = inputs[0].dims[1] // max(self.group, 1) * self.kernel_h * self.kernel_w
        return int(np.prod(outputs[0].dims)) * per_output


@int8_form(Convolution)
class ConvolutionInt8(PixelInt8[Convolution]):
    """int8 weights, int32 sums, one rounding; with the add that is fused into it, if any."""

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> object:
        from tnnquant.kernels.pack_i8 import pack_conv_i8, pack_depthwise_i8

        check_inputs(inputs, 1 + (self.layer.fusion != 0))
        for spec in inputs[1:]:
            if spec.dims != outputs[0].dims:
                raise GraphError(f"adds a blob of dims {text(spec.dims)} to its output of {text(outputs[0].dims)}")
        # TNN adds a bias that is in the file, whatever the parameter says (docs/tnn-format.md, 6.3).
        quant = int8_quant(tensors, scales, self.layer.output_channel, has_bias=True, what="filter")
        shape = self.layer.weight_shape(inputs[0].dims[1])
        _check_size(tensors["filter"].size, shape, "OC*C/G*KH*KW")
        weight, geometry = tensors["filter"].data.reshape(shape), self.layer._geometry(inputs[0].dims)
        depthwise = weight.shape[1] == 1 and self.layer.group > 1
        return geometry, (pack_depthwise_i8 if depthwise else pack_conv_i8)(weight, geometry, quant)

    def ops(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: _StateInt8, keep: list
    ) -> np.ndarray | None:
        from tnnquant.kernels.conv_i8 import conv2d_i8_op
        from tnnquant.kernels.depthwise_i8 import depthwise_i8_op
        from tnnquant.kernels.pack_i8 import PackedDepthwiseI8

        geometry, packed = state
        activation = self.layer.kernel_activation  # TNN ignores any other
        if isinstance(packed, PackedDepthwiseI8):
            return depthwise_i8_op(inputs[0], packed, geometry, activation, outputs[0])
        added = inputs[1] if self.layer.fusion else None
        return conv2d_i8_op(inputs[0], packed, geometry, activation, outputs[0], added, self.layer.fusion)


@dataclass(frozen=True)
class ConvolutionAdd(Convolution):
    """An int8 1x1 convolution and the Add after it, rounded once; made when a model is run, never in a file."""

    fusion: int = param(default=1)


@dataclass(frozen=True)
class ConvolutionSum(Convolution):
    """An fp32 convolution, the Add after it, and the activation after that; made when a model is run, never in a
    file.
    """

    after: int = param(default=0)

    def absorbed(self, following: Layer, state: _State) -> Layer | None:
        return replace(self, after=following.FUSED_CODE) if following.FUSED_CODE and not self.after else None

    def _sum(self, others: Sequence[np.ndarray]) -> tuple[np.ndarray | None, int]:
        return others[0], self.after


def swish_inplace(x: np.ndarray) -> None:
    """x / (1 + exp(-x)), float32, in place."""
    with np.errstate(over="ignore"):
        x *= np.float32(1) / (np.float32(1) + np.exp(-x))
