"""Values at given points of an image: GridSample, RoiAlign."""

from __future__ import annotations

from collections.abc import Sequence

from tnnquant.base.tensor import DataType
from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.layers.grid_sample import GridSample
from tnnquant.layers.roi import RoiAlign
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.registry import exports

__all__: list[str] = []


@exports("GridSample")
def grid_sample(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """From opset 16 on; in 20 a mode got another name."""
    layer = node.layer.expect(GridSample)
    if b.opset < 16:
        raise UnsupportedLayerError("GridSample needs opset 16")
    linear = "linear" if b.opset >= 20 else "bilinear"
    b.op(
        "GridSample", x[0], x[1], to=y[0], mode="nearest" if layer.mode == 1 else linear,
        padding_mode=("zeros", "reflection", "border")[layer.pad_type], align_corners=int(bool(layer.align_corners)),
    )  # fmt: skip


@exports("RoiAlign")
def roi_align(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Positions without half a pixel's offset: ONNX's only meaning before opset 16."""
    layer = node.layer.expect(RoiAlign)
    count, width = b.dims(node.inputs[1])
    regions = x[1] if width == 4 else b.op("Slice", x[1], b.ints(0), b.ints(4), b.ints(1))
    images = b.cast(x[2] if b.dims(node.inputs[2]) == (count,) else b.reshape(x[2], (count,)), DataType.INT64)
    b.op(
        "RoiAlign", x[0], regions, images, to=y[0], mode="avg" if layer.mode == 1 else "max",
        output_height=layer.out_h, output_width=layer.out_w, sampling_ratio=max(layer.sampling_ratio, 0),
        spatial_scale=layer.spatial_scale,
        coordinate_transformation_mode="output_half_pixel" if b.opset >= 16 else None,
    )  # fmt: skip
