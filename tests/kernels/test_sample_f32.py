"""Grid sample and RoI align against their naive twins and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.kernels import sample_f32
from tnnquant.kernels.sample_f32 import grid_sample_f32, grid_sample_f32_naive, roi_align_f32, roi_align_f32_naive


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", [sample_f32.ZEROS, sample_f32.REFLECTION, sample_f32.BORDER])
@pytest.mark.parametrize("mode", [sample_f32.NEAREST, sample_f32.BILINEAR])
@pytest.mark.parametrize(("size", "channels"), [((5, 7), 19), ((1, 3), 1), ((4, 4), 3)])
def test_grid_sample_equals_naive(rng, size, channels, mode, padding, align_corners):
    x = rng.standard_normal((2, *size, channels)).astype(np.float32)
    grid = (rng.standard_normal((2, 6, 5, 2)) * 1.5).astype(np.float32)
    wanted = np.empty((2, 6, 5, channels), np.float32)
    grid_sample_f32_naive(x, grid, mode, padding, align_corners, wanted)
    got = grid_sample_f32(
        x, grid, np.full_like(wanted, np.nan), mode=mode, padding=padding, align_corners=align_corners
    )
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


def test_grid_sample_by_hand():
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    points = [(-1, -1), (1, 1), (0, 0), (-1 / 3, -0.5), (5, 0), (np.nan, 0), (1e30, -1e30)]
    grid = np.array(points, np.float32).reshape(1, 1, -1, 2)

    def sample(**options):
        return grid_sample_f32(x, grid, np.empty((1, 1, len(points), 1), np.float32), **options).ravel()

    # A corner of the image has a quarter of the corner pixel's weight; 0.5 left of the middle of 1 and 4 lies between.
    np.testing.assert_allclose(sample(), [0, 1.25, 2.5, 0.5, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(sample(align_corners=True)[:4], [0, 5, 2.5, 2 / 3 + 0.75], atol=1e-6)
    np.testing.assert_allclose(sample(padding=sample_f32.BORDER)[[0, 1, 4]], [0, 5, 3.5], atol=1e-6)


@pytest.mark.parametrize("mode", [sample_f32.AVERAGE, sample_f32.MAX])
@pytest.mark.parametrize("ratio", [0, 1, 3])
@pytest.mark.parametrize("channels", [1, 17])
def test_roi_align_equals_naive(rng, mode, ratio, channels):
    x = rng.standard_normal((3, 9, 11, channels)).astype(np.float32)
    rois = np.array([[0, 0, 20, 16], [5.3, 2.2, 9.9, 17], [-9, -8, 3, 2], [4, 4, 1, 1], [30, 30, 40, 50]], np.float32)
    images = np.array([0, 2, 1, 2, 0])
    wanted = np.empty((5, 3, 2, channels), np.float32)
    roi_align_f32_naive(x, rois, images.astype(np.int32), np.float32(0.5), ratio, mode, wanted)
    got = roi_align_f32(x, rois, images, np.full_like(wanted, np.nan), scale=0.5, ratio=ratio, mode=mode)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


def test_roi_align_of_a_ramp():
    # In a linear image the average of a region is its value at the middle of the samples.
    y, x = np.mgrid[:8, :8].astype(np.float32)
    image = (10 * y + x)[None, ..., None]
    out = roi_align_f32(
        image, np.array([[1, 2, 5, 6]], np.float32), np.zeros(1, np.int64), np.empty((1, 2, 2, 1), np.float32),
        scale=1, ratio=2, mode=sample_f32.AVERAGE,
    )  # fmt: skip
    np.testing.assert_allclose(out[0, ..., 0], [[32, 34], [52, 54]], rtol=1e-6)
