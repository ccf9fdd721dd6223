"""What a window slides over: sizes shared by convolution and pooling, fp32 and int8."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["NO_ACTIVATION", "RELU", "RELU6", "SWISH", "ConvGeometry", "Extent", "PoolGeometry", "pixel_stride"]

#: Activation codes, TNN's own (256, x*sigmoid(x), is an elementwise step of its own).
NO_ACTIVATION, RELU, RELU6, SWISH = 0, 1, 2, 256


class ConvGeometry(NamedTuple):
    """Sliding window of a convolution.

    Output (oy, ox), tap (kh, kw) reads the input at ``iy = oy*stride_h - pad_top + kh*dilation_h`` and
    ``ix = ox*stride_w - pad_left + kw*dilation_w``; taps outside the image contribute nothing. Begin pads may be
    negative (sampling then starts inside the image); end pads follow from the size of the output. TNN uses
    ``dilation_h`` on both axes: a caller that wants that passes it twice.
    """

    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    pad_top: int = 0
    pad_left: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1

    def inside(self, height: int, width: int, out_height: int, out_width: int) -> bool:
        """Whether every tap of every output position lies inside the image."""
        bottom = (out_height - 1) * self.stride_h - self.pad_top + (self.kernel_h - 1) * self.dilation_h
        right = (out_width - 1) * self.stride_w - self.pad_left + (self.kernel_w - 1) * self.dilation_w
        return self.pad_top <= 0 and self.pad_left <= 0 and bottom < height and right < width


class Extent(NamedTuple):
    """Sizes that a convolution is walked by; where it is a matrix product, the images are one long row of pixels.

    Attributes
    ----------
    images, height, width : int
        Of the input.
    out_width, pixels : int
        Of the output; ``pixels`` per image.
    flat : bool
        Whether it is a matrix product: one tap, no pads, no strides.
    """

    images: int
    height: int
    width: int
    out_width: int
    pixels: int
    flat: bool

    @classmethod
    def of(cls, geometry: ConvGeometry, x: np.ndarray, out: np.ndarray, *, may_be_flat: bool = True) -> Extent:
        """Of arrays (N, H, W, C)."""
        images, height, width, _ = x.shape
        _, out_height, out_width, _ = out.shape
        pixels = out_height * out_width
        if may_be_flat and geometry[:6] == (1, 1, 1, 1, 0, 0) and (height, width) == (out_height, out_width):
            return cls(1, 1, pixels * images, pixels * images, pixels * images, True)
        return cls(images, height, width, out_width, pixels, False)


class PoolGeometry(NamedTuple):
    """Sliding window of a pooling; positions as in :class:`ConvGeometry` without dilation."""

    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    pad_top: int = 0
    pad_left: int = 0


def pixel_stride(array: np.ndarray) -> int:
    """Elements from one pixel to the next of an (N, H, W, C) array whose pixels are evenly spaced.

    Larger than C when the array is a slice of channels of a wider one.
    """
    _, height, width, channels = array.shape
    if width > 1:
        return array.strides[2] // array.itemsize
    if height > 1:
        return array.strides[1] // array.itemsize
    if array.shape[0] > 1:
        return array.strides[0] // array.itemsize
    return int(channels)
