"""Convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.kernels.geometry import RELU, RELU6, SWISH
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.convolution_nd import Convolution1D, Convolution3D
from tnnquant.layers.deconvolution import Deconvolution
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.registry import exports
from tnnquant.onnx.export.windows import Window, trimmed

__all__ = ["activated", "convolution_attributes", "convolution_windows"]



def activated(b: Builder, code: int, x: str, to: str) -> None:
    """The activation that is fused into a convolution, from ``x`` to ``to``."""
    if code == RELU:
        b.op("Relu", x, to=to)
    elif code == RELU6:
        b.op("Clip", x, b.scalar(0), b.scalar(6), to=to)
    else:
        b.op("Mul", x, b.op("Sigmoid", x), to=to)


def linear_name(b: Builder, code: int, to: str) -> str:
    """Where the convolution itself writes."""
    return b.unused(f"{to}/linear") if code in (RELU, RELU6, SWISH) else to


def convolution_windows(b: Builder, node: Node) -> list[Window]:
    """The windows of a 2-D convolution, resolved. TNN uses ``dilation_h`` for both axes."""
    layer = node.layer.expect(Convolution)
    size, out = b.dims(node.inputs[0])[2:], b.dims(node.outputs[0])[2:]
    kernel, stride, begin = (
        (layer.kernel_h, layer.kernel_w), (layer.stride_h, layer.stride_w), (layer.pad_h, layer.pad_w)
    )  # fmt: skip
    return [
        Window(*each, layer.dilation_h) for each in zip(size, out, kernel, stride, begin, strict=True)
    ]


def convolution_attributes(windows: Sequence[Window], pads: Sequence[int], group: int) -> dict[str, Any]:
    """The attributes of a Conv."""
    return {
        "kernel_shape": [w.kernel for w in windows],
        "strides": [w.stride for w in windows],
        "dilations": [w.dilation for w in windows],
        "pads": list(pads),
        "group": group,
    }


def _convolved(
    b: Builder, layer: Convolution | Convolution1D | Convolution3D, x: str, to: str, windows: Sequence[Window],
    weight: np.ndarray, bias: np.ndarray | None,
) -> None:  # fmt: skip
    x, pads = trimmed(b, x, len(windows) + 2, windows)
    linear = linear_name(b, layer.activation_type, to)
    operands = [x, b.constant(weight, "weight"), *([] if bias is None else [b.constant(bias, "bias")])]
    b.op("Conv", *operands, to=linear, **convolution_attributes(windows, pads, layer.group))
    if linear != to:
        activated(b, layer.activation_type, linear, to)


@exports("Convolution")
def convolution(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """2-D."""
    layer = node.layer.expect(Convolution)
    weight = layer.weight_array(node.tensors)
    _convolved(b, layer, x[0], y[0], convolution_windows(b, node), weight, layer.bias_array(node.tensors))


@exports("Convolution1D")
def convolution_1d(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """1-D."""
    from tnnquant.layers.convolution import bias_array, filter_array

    layer = node.layer.expect(Convolution1D)
    dims, out = b.dims(node.inputs[0]), b.dims(node.outputs[0])
    begin = layer.axis(dims).begin
    weight = filter_array(node.tensors, (layer.output_channel, dims[1] // layer.group, layer.kernel), "OC*C/G*K")
    window = Window(dims[2], out[2], layer.kernel, layer.stride, begin, layer.dilation)
    bias = bias_array(node.tensors, layer.bias, layer.output_channel)
    _convolved(b, layer, x[0], y[0], [window], weight, bias)


@exports("Convolution3D")
def convolution_3d(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """3-D."""
    from tnnquant.layers.convolution import bias_array, filter_array

    layer = node.layer.expect(Convolution3D)
    dims, out = b.dims(node.inputs[0]), b.dims(node.outputs[0])
    kernel = layer.kernel_d, layer.kernel_h, layer.kernel_w
    strides = layer.stride_d, layer.stride_h, layer.stride_w
    dilations = layer.dilation_d, layer.dilation_h, layer.dilation_w
    shape = (layer.output_channel, dims[1] // layer.group, *kernel)
    weight = filter_array(node.tensors, shape, "OC*C/G*KD*KH*KW")
    begins = [axis.begin for axis in layer.axes(dims)]
    windows = [Window(*each) for each in zip(dims[2:], out[2:], kernel, strides, begins, dilations, strict=True)]
    _convolved(b, layer, x[0], y[0], windows, weight, bias_array(node.tensors, layer.bias, layer.output_channel))


@exports("Deconvolution")
def deconvolution(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Transposed, 2-D."""
    from tnnquant.layers.convolution import bias_array, filter_array

    layer = node.layer.expect(Deconvolution)
    (_, channels, *size), out = b.dims(node.inputs[0]), b.dims(node.outputs[0])[2:]
    kernel, stride = (layer.kernel_h, layer.kernel_w), (layer.stride_h, layer.stride_w)
    dilation = layer.dilation_h, layer.dilation_w
    if any(min(pair) > 1 for pair in zip(stride, dilation, strict=True)):
        raise UnsupportedLayerError("stride and dilation both exceed 1: TNN then computes something other than ONNX")
    shape = (layer.group, channels // layer.group, layer.output_channel // layer.group, *kernel)
    weight = filter_array(node.tensors, shape, "G*C/G*OC/G*KH*KW").reshape(channels, shape[2], *kernel)
    bias = bias_array(node.tensors, layer.bias, layer.output_channel)
    # What is cut off the whole result in front and at the end; negative: positions that no input reaches.
    begin = [axis.begin for axis in layer.axes(b.dims(node.inputs[0]))]
    whole = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(size, stride, dilation, kernel, strict=True)]
    end = [w - o - p for w, o, p in zip(whole, out, begin, strict=True)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel, "strides": stride, "dilations": dilation, "group": layer.group,
    }  # fmt: skip
    linear = linear_name(b, layer.activation_type, y[0])
    weights = [b.constant(weight, "weight")]
    if min(*begin, *end) >= 0:
        operands = [x[0], *weights, *([] if bias is None else [b.constant(bias, "bias")])]
        b.op("ConvTranspose", *operands, to=linear, pads=[*begin, *end], **attributes)
    else:
        made = b.op("ConvTranspose", x[0], *weights, **attributes)
        borders = [0, 0, *(-p for p in begin), 0, 0, *(-p for p in end)]
        made = b.op("Pad", made, b.ints(*borders), to=linear if bias is None else None)
        if bias is not None:
            b.op("Add", made, b.constant(bias.reshape(-1, 1, 1), "bias"), to=linear)
    if linear != y[0]:
        activated(b, layer.activation_type, linear, y[0])
