"""RoiAlign and ROIPooling: shapes, types, hostile regions; the arithmetic is tested with the kernel."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer


def naive_average(x, roi, image, size, ratio, scale):
    """One region, corners clamped into the image as in ONNX."""
    _, channels, height, width = x.shape
    x0, y0 = roi[0] * scale, roi[1] * scale
    w, h = max(roi[2] * scale - x0, 1), max(roi[3] * scale - y0, 1)
    ny = ratio or int(np.ceil(h / size[0]))
    nx = ratio or int(np.ceil(w / size[1]))
    out = np.zeros((channels, *size))
    for py, px, iy, ix in np.ndindex(*size, ny, nx):
        y = y0 + (py + (iy + 0.5) / ny) * h / size[0]
        column = x0 + (px + (ix + 0.5) / nx) * w / size[1]
        if -1 <= y <= height and -1 <= column <= width:
            y, column = min(max(y, 0), height - 1), min(max(column, 0), width - 1)
            top, left = int(y), int(column)
            down, over = y - top, column - left
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = x[image, :, top, left] * (1 - over) + x[image, :, top, right] * over
            lower = x[image, :, bottom, left] * (1 - over) + x[image, :, bottom, right] * over
            out[:, py, px] += (upper * (1 - down) + lower * down) / (ny * nx)
    return out


@pytest.mark.parametrize("ratio", [0, 2])
def test_average(rng, run_layer, ratio):
    x = rng.standard_normal((2, 19, 6, 8)).astype(np.float32)
    rois = np.array([[0, 0, 7, 9], [3.5, 2.5, 12.7, 4.9], [-9, -4, 2, 3], [40, 1, 50, 3]], np.float32)
    images = np.array([0, 1, 1, 0], np.int32)
    (got,) = run_layer("RoiAlign", f"1 3 2 {ratio} 0.5", x, rois, images)
    for i in range(4):
        wanted = naive_average(x.astype(np.float64), rois[i], images[i], (3, 2), ratio, 0.5)
        np.testing.assert_allclose(got[i], wanted, rtol=0, atol=1e-5)


def test_maximum_is_over_weighted_corners(run_layer):
    x = np.array([[[[4, 8], [12, 16]]]], np.float32)
    rois, images = np.array([[0, 0, 1, 1]], np.float32), np.zeros(1, np.int32)
    # One sample in the middle: every corner has a quarter of the weight.
    assert run_layer("RoiAlign", "0 1 1 1 1", x, rois, images)[0].ravel() == [4]
    assert run_layer("RoiAlign", "1 1 1 1 1", x, rois, images)[0].ravel() == [10]


def test_hostile_regions():
    layer = find_layer("RoiAlign").parse("1 2 2 0 1".split())
    x = np.zeros((1, 1, 4, 4), np.float32)
    for roi in ([0, 0, 1e9, 1], [0, np.nan, 1, 1], [-np.inf, 0, 1, 1], [-3e38, 0, 3e38, 1]):
        with pytest.raises(GraphError, match="a region goes from"):
            layer.forward([x, np.array([roi], np.float32), np.zeros(1, np.int32)], None)
    for image in (-1, 1):
        with pytest.raises(GraphError, match="the input has 1 images"):
            layer.forward([x, np.zeros((1, 4), np.float32), np.array([image], np.int32)], None)


def test_errors():
    def specs(line, *dims, dtype=DataType.INT32):
        specs = [BlobSpec(d) for d in dims[:2]] + [BlobSpec(d, dtype) for d in dims[2:]]
        return find_layer("RoiAlign").parse(line.split()).output_specs(specs, {})

    good = (1, 3, 8, 8), (5, 4), (5,)
    assert specs("1 7 6 2 0.25", *good)[0].dims == (5, 3, 7, 6)
    with pytest.raises(GraphError, match="output size is 0x0"):
        specs("", *good)
    with pytest.raises(GraphError, match="has 2 input blobs"):
        specs("1 7 6 2 0.25", *good[:2])
    with pytest.raises(GraphError, match="expected"):
        specs("1 7 6 2 0.25", (1, 3, 8, 8), (5, 4), (4,))
    with pytest.raises(UnsupportedLayerError, match="FLOAT"):
        specs("1 7 6 2 0.25", *good, dtype=DataType.FLOAT)


def test_roi_pooling_loads_and_is_refused_by_name():
    for line in ("0 0.0625 7 6", "0 0.0625 7 6 5"):
        layer = find_layer("ROIPooling").parse(line.split())
        assert " ".join(layer.tokens()) == line
        assert not layer.runnable()
        with pytest.raises(UnsupportedLayerError, match=r"ROIPooling cannot be run: .* use RoiAlign"):
            layer.forward([], None)
    # TNN writes the two sizes twice.
    assert find_layer("ROIPooling").parse("0 1 7 6 7 6".split()).pooled_d == (7,)
