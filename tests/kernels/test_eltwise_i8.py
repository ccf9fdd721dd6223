"""Elementwise int8 steps and pooling against their naive twins: equal."""

import numpy as np
import pytest

from tnnquant.kernels.eltwise_i8 import (
    Scales,
    add_i8,
    add_i8_naive,
    bordered_i8,
    bordered_i8_naive,
    copy_i8,
    dequantize_i8,
    dequantize_i8_naive,
    quantize_i8,
    quantize_i8_naive,
    relu_i8,
    rescale_i8,
)
from tnnquant.kernels.geometry import PoolGeometry
from tnnquant.kernels.pool_i8 import AVERAGE, MAX, pool2d_i8, pool2d_i8_naive

SHAPES = [(1, 1, 1, 1), (2, 5, 7, 3), (1, 9, 9, 8), (2, 3, 3, 16), (1, 4, 5, 31), (1, 2, 2, 130), (1, 1, 3, 700)]


def _scales(rng, n):
    return Scales(rng.uniform(0.01, 0.05, n).astype(np.float32), rng.integers(-100, 100, n).astype(np.int8))


def _whole(scales, channels):
    return [np.ascontiguousarray(np.broadcast_to(values, (channels,))) for values in scales]


def _i8(rng, shape, extra):
    """A slice of channels of a wider array."""
    return rng.integers(-128, 128, (*shape[:3], shape[3] + extra)).astype(np.int8)[..., extra:]


@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_quantize_and_dequantize_equal_the_naive_loops(rng, shape, extra):
    channels = shape[3]
    for n in {1, channels}:
        scales = _scales(rng, n)
        if n > 1:
            scales.scale[0] = 0
        x = rng.standard_normal((*shape[:3], channels + extra)).astype(np.float32)[..., extra:]
        flat = np.ascontiguousarray(x).reshape(-1, channels)
        want, want_back = np.empty(flat.shape, np.int8), np.empty(flat.shape, np.float32)
        out = quantize_i8(x, scales, _i8(rng, shape, extra))
        quantize_i8_naive(flat, *_whole(scales, channels), want)
        np.testing.assert_array_equal(out.reshape(-1, channels), want)
        back = dequantize_i8(out, scales, np.empty(shape, np.float32))
        dequantize_i8_naive(want, *_whole(scales, channels), want_back)
        np.testing.assert_array_equal(back.reshape(-1, channels), want_back)


def test_quantize_rounds_half_away_from_zero_and_saturates():
    x = np.float32([0.5, -0.5, 1.5, 2.5, -2.5, 126.5, 127.4, 1e30, -128.5, -1e30, np.inf, -np.inf, np.nan, 0.49999997])
    out = quantize_i8(
        x[None, None, :, None],
        Scales(np.ones(1, np.float32), np.zeros(1, np.int8)),
        np.empty((1, 1, len(x), 1), np.int8),
    )
    want = [1, -1, 2, 3, -3, 127, 127, 127, -128, -128, 127, -128, 127]
    assert out.ravel().tolist()[:-1] == want
    # f32(0.49999997 + 0.5) is 1: TNN's rounding, not the mathematical one.
    assert out.ravel()[-1] == 1


@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_add_and_rescale_equal_the_naive_loops(rng, shape, extra):
    channels = shape[3]
    for count in (1, 2, 3, 8):
        for n in {1, channels}:
            operands = [_i8(rng, shape, extra) for _ in range(count)]
            scales, to = [_scales(rng, n) for _ in range(count)], _scales(rng, n)
            to = Scales(to.scale * count, to.zero_point // 4)
            out, want = _i8(rng, shape, extra), np.empty((np.prod(shape[:3]), channels), np.int8)
            flat = np.stack([np.ascontiguousarray(x).reshape(-1, channels) for x in operands])
            tables = [np.stack(values) for values in zip(*[_whole(s, channels) for s in scales], strict=True)]
            add_i8_naive(flat, *tables, *_whole(to, channels), want)
            add_i8(operands, scales, to, out)
            np.testing.assert_array_equal(out.reshape(-1, channels), want)
            if count == 1:
                rescale_i8(operands[0], scales[0], to, out)
                np.testing.assert_array_equal(out.reshape(-1, channels), want)


def test_add_with_two_dead_scales_gives_127():
    x, dead = np.zeros((1, 1, 1, 20), np.int8), Scales(np.zeros(1, np.float32), np.zeros(1, np.int8))
    assert (add_i8([x, x], [dead, dead], dead, np.empty_like(x)) == 127).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_relu_and_copy(rng, shape):
    x, out = _i8(rng, shape, 1), _i8(rng, shape, 3)
    np.testing.assert_array_equal(relu_i8(x, out), np.maximum(x, 0))
    np.testing.assert_array_equal(copy_i8(x, out), x)


@pytest.mark.parametrize("kind", [MAX, AVERAGE])
def test_pooling_equals_the_naive_loops(rng, kind):
    windows = [
        ((9, 11), PoolGeometry(3, 3, 2, 2, 1, 0), (5, 6)),
        ((7, 6), PoolGeometry(7, 6), (1, 1)),
        ((7, 7), PoolGeometry(2, 3, 3, 2, 4, 5), (6, 7)),
    ]
    for channels in (1, 15, 16, 17, 31, 33, 127, 129, 300):
        for size, geometry, out_size in windows:
            x = _i8(rng, (2, *size, channels), 1)
            out, want = _i8(rng, (2, *out_size, channels), 2), np.empty((2, *out_size, channels), np.int8)
            pool2d_i8(x, geometry, kind, out)
            pool2d_i8_naive(np.ascontiguousarray(x), tuple(geometry), kind, want)
            np.testing.assert_array_equal(out, want)


def test_maximum_starts_from_minus_127_and_average_truncates():
    lowest = np.full((1, 2, 2, 20), -128, np.int8)
    assert (pool2d_i8(lowest, PoolGeometry(2, 2), MAX, np.empty((1, 1, 1, 20), np.int8)) == -127).all()
    x = np.int8([-1, -2, -2, -2])[None, :, None, None]
    assert pool2d_i8(x, PoolGeometry(4, 1), AVERAGE, np.empty((1, 1, 1, 1), np.int8)) == -1


@pytest.mark.parametrize(("corner", "grown"), [((0, 0), (0, 0)), ((1, 1), (2, 2)), ((0, 0), (1, 1)), ((2, 0), (3, 4))])
def test_a_border_is_what_0_would_be(rng, corner, grown):
    for channels in (1, 3, 5, 40):
        x = (rng.standard_normal((2, 7, 6, channels)) * 40).astype(np.float32)
        bias = (rng.standard_normal(channels) * 30).astype(np.float32)
        scale = (rng.random(channels) + 0.2).astype(np.float32)
        scale[0] = 0
        to = Scales(scale, rng.integers(-20, 20, channels).astype(np.int8))
        out, wanted = np.full((2, 2, 7 + grown[0], 6 + grown[1], channels), 77, np.int8)
        bordered_i8(x, bias, to, corner, out)
        for image in range(2):
            bordered_i8_naive(x[image], bias, scale, to.zero_point, *corner, wanted[image])
        np.testing.assert_array_equal(out, wanted)
