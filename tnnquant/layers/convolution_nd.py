"""1-D and 3-D convolution (reference, 4.2, 5.1)."""

from __future__ import annotations

from tnnquant.layers.base import FlagField, Layer, TensorField, TextField, layer, param

__all__ = ["Convolution1D", "Convolution3D"]

FILTER_AND_BIAS = (
    TextField(),
    FlagField("has_bias", of="bias"),
    TensorField("filter"),
    TensorField("bias", when="has_bias"),
)


@layer(203, "Convolution1D")
class Convolution1D(Layer):
    """1-D convolution with bias and a fused activation. On file the end pad stands before the begin pad."""

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


@layer(201, "Convolution3D")
class Convolution3D(Layer):
    """3-D convolution with bias and a fused activation."""

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
