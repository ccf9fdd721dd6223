"""fp32 pooling against TNN's loops: the same bits."""

import numpy as np
import pytest

from tnnquant.kernels.geometry import PoolGeometry
from tnnquant.kernels.pool_f32 import ADAPTIVE_AVERAGE, AVERAGE, MAX, pool2d_f32, pool2d_f32_naive

WINDOWS = {
    "3x3/2": ((2, 9, 11), PoolGeometry(3, 3, 2, 2, 1, 0), (5, 6)),
    "global": ((1, 7, 6), PoolGeometry(7, 6), (1, 1)),
    "2x3, all kinds of borders": ((1, 7, 7), PoolGeometry(2, 3, 3, 2, 4, 5), (6, 7)),
    "negative pads": ((1, 8, 8), PoolGeometry(2, 2, 3, 3, -1, -2), (3, 2)),
    "adaptive sizes": ((2, 13, 10), PoolGeometry(1, 1), (5, 7)),
}


@pytest.mark.parametrize("kind", [MAX, AVERAGE, ADAPTIVE_AVERAGE])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_pooling_equals_the_naive_loops(rng, window, kind):
    (images, height, width), geometry, out_size = window
    for channels in (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65, 200):
        x = rng.standard_normal((images, height, width, channels + 1)).astype(np.float32)[..., 1:]
        wide = np.full((images, *out_size, channels + 2), 7, np.float32)
        want = np.empty((images, *out_size, channels), np.float32)
        pool2d_f32(x, geometry, kind, wide[..., :channels])
        pool2d_f32_naive(np.ascontiguousarray(x), tuple(geometry), kind, want)
        assert (wide[..., channels:] == 7).all()
        np.testing.assert_array_equal(wide[..., :channels], want)


def test_average_does_not_count_padding():
    x = np.ones((1, 2, 2, 3), np.float32)
    out = pool2d_f32(x, PoolGeometry(2, 2, 1, 1, 1, 1), AVERAGE, np.empty((1, 3, 3, 3), np.float32))
    assert (out == 1).all()


def test_an_empty_window_has_maximum_zero():
    x = -np.ones((1, 2, 2, 20), np.float32)
    out = pool2d_f32(x, PoolGeometry(2, 2, 2, 2, 2, 2), MAX, np.empty((1, 3, 3, 20), np.float32))
    assert (out[0, 0] == 0).all()
    assert (out[0, 1, 1] == -1).all()


def test_negative_infinity_becomes_the_lowest_finite_number():
    x = np.full((1, 2, 2, 9), -np.inf, np.float32)
    out = pool2d_f32(x, PoolGeometry(2, 2), MAX, np.empty((1, 1, 1, 9), np.float32))
    assert (out == np.finfo(np.float32).min).all()
