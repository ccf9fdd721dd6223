"""2-D deconvolution, that is transposed convolution (reference, 4.2, 5.1, 9)."""

from __future__ import annotations

from tnnquant.layers.base import FlagField, Layer, ScaleField, TensorField, TextField, layer, param

__all__ = ["Deconvolution"]


@layer(22, "Deconvolution")
class Deconvolution(Layer):
    """Transposed convolution with bias and a fused activation; filter (groups, C/G, OC/G, KH, KW)."""

    RESOURCE = (
        TextField(),
        FlagField("has_bias", of="bias"),
        TensorField("filter"),
        TensorField("bias", when="has_bias"),
        ScaleField("filter"),
    )

    group: int = param(default=0)
    input_channel: int = param(default=0)
    output_channel: int = param(default=0)
    kernel_h: int = param(default=0)
    kernel_w: int = param(default=0)
    stride_h: int = param(default=0)
    stride_w: int = param(default=0)
    pad_h: int = param(default=0)
    pad_w: int = param(default=0)
    bias: int = param(default=0)
    pad_type: int = param(default=0)
    dilation_h: int = param(default=1)
    dilation_w: int = param(default=1)
    activation_type: int = param(default=0)
