"""What convolution and deconvolution share: the parameters on the line, the tensors, the geometry of their windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tnnquant.layers.fields import FlagField, ResourceField, ScaleField, TensorField, TextField, param
from tnnquant.layers.weighted import FusesActivation

if TYPE_CHECKING:
    from tnnquant.kernels.geometry import ConvGeometry

__all__ = ["Windowed"]


@dataclass(frozen=True)
class Windowed(FusesActivation):
    """A window over height and width, with weights, a bias and a fused activation (0 none, 1 ReLU, 2 ReLU6, 256
    swish)."""

    RESOURCE: ClassVar[tuple[ResourceField, ...]] = (
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

    @property
    def kernel_activation(self) -> int:
        """The activation as kernels fuse it: ReLU, ReLU6 or none; a swish comes after them."""
        return self.activation_type if self.activation_type in (1, 2) else 0

    def geometry(self, begin_h: int, begin_w: int, dilation_h: int, dilation_w: int) -> ConvGeometry:
        """Of the windows, with these begin pads and dilations."""
        from tnnquant.kernels.geometry import ConvGeometry

        return ConvGeometry(
            self.kernel_h, self.kernel_w, self.stride_h, self.stride_w, begin_h, begin_w, dilation_h, dilation_w,
            self.group,
        )  # fmt: skip
