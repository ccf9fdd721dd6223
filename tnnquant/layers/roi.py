"""Fixed-size features of regions of interest (docs/tnn-format.md, 4.4, 5.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, channels_last, from_channels_last, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import param

__all__ = ["ROIPooling", "RoiAlign"]

_MOST_SAMPLES = 1 << 12
"""Samples of a part of a region along an axis; more means that the regions are not in pixels of this image."""


@layer(317, "RoiAlign")
class RoiAlign(Layer):
    """Pooling of bilinear samples; ``mode`` 1 average, else maximum, over the four weighted corners of each.

    The inputs are the image (N, C, H, W), the regions (R, 4 or more: x0, y0, x1, y1) and the image of each (R,), INT32.
    Positions have no half-pixel offset, as in ONNX before version 16.
    """

    mode: int = param(default=1)
    out_h: int = param(default=0)
    out_w: int = param(default=0)
    sampling_ratio: int = param(default=0)
    spatial_scale: float = param("float", default=0.0)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 3)
        check_types(inputs[:2], DataType.FLOAT)
        check_types(inputs[2:], DataType.INT32)
        image, regions, numbers = (spec.dims for spec in inputs)
        if len(image) != 4 or len(regions) != 2 or regions[1] < 4 or prod(numbers) < regions[0]:
            raise GraphError(
                f"the inputs have the dims {image}, {regions} and {numbers}, expected (N, C, H, W), (R, 4) and (R,)"
            )
        if min(self.out_h, self.out_w) < 1:
            raise GraphError(f"the output size is {self.out_h}x{self.out_w}, expected at least 1x1")
        if self.sampling_ratio > _MOST_SAMPLES:
            raise GraphError(f"sampling_ratio is {self.sampling_ratio}, expected at most {_MOST_SAMPLES}")
        return [BlobSpec((regions[0], image[1], self.out_h, self.out_w))]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        from tnnquant.kernels.sample_f32 import AVERAGE, MAX, roi_align_f32

        x, regions = channels_last(inputs[0]), np.ascontiguousarray(inputs[1][:, :4])
        images = inputs[2].reshape(-1)[: len(regions)]
        if ((images < 0) | (images >= len(x))).any():
            raise GraphError(f"a region lies in image {images.min()} or {images.max()}, the input has {len(x)} images")
        with np.errstate(over="ignore", invalid="ignore"):
            sizes = (regions[:, 2:] - regions[:, :2]) * np.float32(self.spatial_scale) / (self.out_w, self.out_h)
        if not np.isfinite(regions).all() or (sizes > _MOST_SAMPLES).any():
            raise GraphError(
                f"a region goes from {regions.min():g} to {regions.max():g}, in an image of {x.shape[2]}x{x.shape[1]} "
                f"pixels with spatial_scale {self.spatial_scale:g}"
            )
        out = np.empty((len(regions), self.out_h, self.out_w, x.shape[3]), np.float32)
        roi_align_f32(
            x, regions, images.astype(np.int64), out,
            scale=self.spatial_scale, ratio=self.sampling_ratio, mode=AVERAGE if self.mode == 1 else MAX,
        )  # fmt: skip
        return [from_channels_last(out)]


@layer(14, "ROIPooling")
class ROIPooling(Layer):
    """Pooling of the cells of a region; TNN has no CPU code for it."""

    pool_type: int = param()
    spatial_scale: float = param("float")
    pooled_w: int = param()
    pooled_h: int = param()
    pooled_d: tuple[int, ...] = param("rest")
    """At most one value; there for rank 5 only."""

    WHY_NOT = "TNN's CPU device has no code for it; use RoiAlign"

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Self:
        parsed = super().parse(tokens)
        return replace(parsed, pooled_d=parsed.pooled_d[:1])
