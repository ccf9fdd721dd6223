"""StridedSlice and StridedSliceV2: regular cuts out of a blob."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["StridedSlice", "StridedSliceV2"]


@layer(57, "StridedSlice", "StridedSlice_nhwc")
class StridedSlice(Layer):
    """``x[begin:end:stride]`` on every axis; an end of 0 is the end of the axis."""

    begins: tuple = param("ints")
    ends: tuple = param("ints")
    strides: tuple = param("ints")


@layer(306, "StridedSliceV2")
class StridedSliceV2(Layer):
    """``x[begin:end:stride]`` on the listed axes."""

    begins: tuple = param("ints")
    ends: tuple = param("ints")
    axes: tuple = param("ints")
    strides: tuple = param("ints")
