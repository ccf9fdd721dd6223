"""Upsample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.layers.upsample import Upsample
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.registry import exports

__all__: list[str] = []

NEAREST, BILINEAR, CUBIC = 1, 2, 3


@exports("Upsample")
def upsample(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Resize with the sizes given; nearest of other than whole factors by picking rows and columns."""
    layer = node.layer.expect(Upsample)
    dims, out = b.dims(node.inputs[0]), b.dims(node.outputs[0])
    if dims == out and layer.mode != CUBIC:
        b.op("Identity", x[0], to=y[0])
    elif layer.mode == NEAREST:
        _nearest(b, x[0], y[0], dims, out)
    else:
        if layer.mode == CUBIC and not layer.align_corners and 1 in out[2:]:
            raise UnsupportedLayerError("cubic resizing to one row or column: TNN samples half a pixel outside")
        where = "align_corners" if layer.align_corners else "pytorch_half_pixel"
        mode = "linear" if layer.mode == BILINEAR else "cubic"
        b.op(
            "Resize", x[0], None, None, b.ints(*out), to=y[0], mode=mode, coordinate_transformation_mode=where,
            cubic_coeff_a=-0.75 if mode == "cubic" else None,
        )  # fmt: skip


def _nearest(b: Builder, x: str, to: str, dims: Sequence[int], out: Sequence[int]) -> None:
    if all(m % n == 0 for n, m in zip(dims, out, strict=True)):
        b.op(
            "Resize", x, None, None, b.ints(*out), to=to, mode="nearest", coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )  # fmt: skip
        return
    rows, columns = (_places(dims[axis], out[axis]) for axis in (2, 3))
    b.op("Gather", b.op("Gather", x, b.constant(rows), axis=2), b.constant(columns), to=to, axis=3)


def _places(size: int, out: int) -> np.ndarray:
    """The input index of each output index: ``int(f32(i) * f32(f32(size) / out))``."""
    step = np.float32(size) / np.float32(out)
    return np.minimum((np.arange(out, dtype=np.float32) * step).astype(np.int64), size - 1)
