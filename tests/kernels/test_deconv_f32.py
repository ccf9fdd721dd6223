"""The deconvolution kernel against its naive twin."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.kernels.deconv_f32 import deconv2d_f32, deconv2d_f32_naive, plan_deconv_f32
from tnnquant.kernels.geometry import ConvGeometry

# images, size, channels, out channels, geometry, output size
CASES = {
    "2x2 stride 2": (1, (5, 7), 24, 16, ConvGeometry(2, 2, 2, 2), (10, 14)),
    "4x4 stride 2 pad 1": (2, (4, 5), 17, 5, ConvGeometry(4, 4, 2, 2, 1, 1), (8, 10)),
    "3x3 stride 1 pad 1": (1, (6, 5), 8, 33, ConvGeometry(3, 3, 1, 1, 1, 1), (6, 5)),
    "3x3 stride 2 with an output pad": (1, (4, 4), 3, 4, ConvGeometry(3, 3, 2, 2, 1, 1), (8, 8)),
    "3x5 stride 3x2": (2, (3, 4), 6, 7, ConvGeometry(3, 5, 3, 2, 0, 2), (9, 7)),
    "dilation 2x3": (1, (5, 4), 4, 6, ConvGeometry(3, 2, 1, 1, 1, 0, 2, 3), (7, 7)),
    "stride in one axis, dilation in the other": (1, (5, 4), 4, 6, ConvGeometry(3, 2, 2, 1, 1, 0, 1, 3), (9, 7)),
    "1x1 stride 2 leaves holes": (1, (3, 3), 3, 5, ConvGeometry(1, 1, 2, 2), (5, 5)),
    "kernel smaller than stride, negative pads": (1, (3, 4), 3, 5, ConvGeometry(2, 1, 4, 3, -1, -1), (12, 12)),
    "two groups": (2, (4, 3), 6, 8, ConvGeometry(3, 2, 2, 2, 1, 0, groups=2), (7, 6)),
    "depthwise": (1, (4, 5), 19, 19, ConvGeometry(4, 4, 2, 2, 1, 1, groups=19), (8, 10)),
    "depthwise, two outputs each": (1, (4, 5), 5, 10, ConvGeometry(3, 3, 2, 2, 1, 1, groups=5), (7, 9)),
    "larger stride than output": (1, (1, 1), 3, 2, ConvGeometry(3, 3, 8, 8, 0, 0), (3, 3)),
}


@pytest.mark.parametrize("activation", [0, 1, 2])
@pytest.mark.parametrize("name", CASES)
def test_equals_naive(rng, name, activation):
    images, size, channels, out_channels, geometry, out_size = CASES[name]
    groups = geometry.groups
    x = rng.standard_normal((images, *size, channels)).astype(np.float32)
    shape = (groups, channels // groups, out_channels // groups, geometry.kernel_h, geometry.kernel_w)
    weight = rng.standard_normal(shape).astype(np.float32)
    bias = (rng.standard_normal(out_channels) * 3).astype(np.float32)
    wanted = np.empty((images, *out_size, out_channels), np.float32)
    deconv2d_f32_naive(x, weight.reshape(channels, *shape[2:]), bias, geometry, activation, wanted)

    plan = plan_deconv_f32(weight, bias, geometry, out_size)
    wide = np.full((images, *out_size, out_channels + 5), np.nan, np.float32)
    got = deconv2d_f32(x, plan, activation, wide[..., 2:-3])
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert np.isnan(wide[..., :2]).all()
    assert np.isnan(wide[..., -3:]).all()


def test_no_bias(rng):
    geometry = ConvGeometry(2, 2, 2, 2)
    x = rng.standard_normal((1, 3, 3, 4)).astype(np.float32)
    weight = rng.standard_normal((1, 4, 3, 2, 2)).astype(np.float32)
    out = deconv2d_f32(x, plan_deconv_f32(weight, None, geometry, (6, 6)), 0, np.empty((1, 6, 6, 3), np.float32))
    wanted = np.einsum("nyxc,cohw->nyhxwo", x, weight[0]).reshape(out.shape)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-5)
