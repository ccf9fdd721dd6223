"""Sampling of an image at given points (docs/tnn-format.md, 4.4, 5.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, Layer, channels_last, from_channels_last, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import param

__all__ = ["GridSample"]


@layer(323, "GridSample")
class GridSample(Layer):
    """Samples of (N, C, H, W) at the points (x, y), in -1..1, of a grid (N, OH, OW, 2).

    TNN's CPU device runs mode 2 (bilinear) with pad_type 0 (zeros) and align_corners 0 alone. Mode 1 (nearest), pad
    types 1 (reflect) and 2 (edge) and align_corners 1 are what PyTorch and ONNX mean by them.
    """

    mode: int = param(default=2)
    pad_type: int = param(default=0)
    align_corners: int = param(default=0)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 2)
        check_types(inputs, DataType.FLOAT)
        image, grid = inputs[0].dims, inputs[1].dims
        if self.mode not in (1, 2) or self.pad_type not in (0, 1, 2):
            raise UnsupportedLayerError(
                f"mode is {self.mode}, pad_type {self.pad_type}; expected mode 1 (nearest) or 2 (bilinear) and "
                "pad_type 0 (zeros), 1 (reflect) or 2 (edge)"
            )
        if len(image) != 4:
            raise UnsupportedLayerError(f"the image has the dims {image}; TNN samples rank 4 (N, C, H, W) only")
        if len(grid) != 4 or grid[0] != image[0] or grid[3] != 2:
            raise GraphError(f"the grid has the dims {grid}, expected ({image[0]}, OH, OW, 2)")
        return [BlobSpec((*image[:2], *grid[1:3]))]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        from tnnquant.kernels.sample_f32 import grid_sample_f32

        x, grid = channels_last(inputs[0]), np.ascontiguousarray(inputs[1])
        out = np.empty((*grid.shape[:3], x.shape[3]), np.float32)
        grid_sample_f32(
            x, grid, out, mode=self.mode, padding=self.pad_type, align_corners=self.align_corners != 0
        )
        return [from_channels_last(out)]
