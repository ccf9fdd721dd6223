"""Functions with parameters of each channel against their naive twin."""

import numpy as np
import pytest

from tnnquant.kernels import program
from tnnquant.kernels.channelwise import AFFINE, PRELU, channel_f32_naive, channel_f32_op, channel_table


def _random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def _run(code, x, table, out):
    program.run(channel_f32_op(code, x, table, out))
    return out


def _naive(code, x, k, b):
    images = np.ascontiguousarray(x).reshape(*x.shape[:2], -1)
    want = np.empty_like(images)
    channel_f32_naive(code, images, k, b, want)
    return want.reshape(x.shape)


@pytest.mark.parametrize("code", [AFFINE, PRELU])
@pytest.mark.parametrize("channels", [1, 3, 16, 33, 511, 512, 600])
def test_equals_the_naive_loops_in_both_layouts(rng, code, channels):
    for size in ((1, 1, 1), (2, 5, 7), (1, 40, 33), (7, 2, 1)):
        k, b = _random(rng, channels), _random(rng, channels)
        x = _random(rng, size[0], channels, *size[1:])
        last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        want = _naive(code, x, k, b)
        for source in (x, last):
            out = _run(code, source, channel_table(k, b), np.empty_like(source))
            assert np.ascontiguousarray(out).tobytes() == want.tobytes()


def test_slices_of_channels(rng):
    x = _random(rng, 2, 4, 5, 40)[..., 3:20].transpose(0, 3, 1, 2)
    wide = np.full((2, 4, 5, 30), 7, np.float32)
    k, b = _random(rng, 17), _random(rng, 17)
    _run(AFFINE, x, channel_table(k, b), wide[..., 1:18].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(wide[..., 1:18].transpose(0, 3, 1, 2), _naive(AFFINE, x, k, b))
    assert (wide[..., 18:] == 7).all()
    assert (wide[..., :1] == 7).all()


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (2, 3, 2, 2, 2)])
def test_any_rank(rng, shape):
    channels = shape[1] if len(shape) > 1 else 1
    x, k, b = _random(rng, *shape), _random(rng, channels), _random(rng, channels)
    out = _run(PRELU, x, channel_table(k[:1], b[:1]), np.empty_like(x))
    np.testing.assert_array_equal(out, np.where(x < 0, x * k[0], x))
    if len(shape) > 1:
        out = _run(AFFINE, x, channel_table(k, b), np.empty_like(x))
        np.testing.assert_array_equal(out, _naive(AFFINE, x, k, b))
