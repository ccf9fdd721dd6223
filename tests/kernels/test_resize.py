"""The resize of TNN's tool: its filters, its pixels."""

import math

import numpy as np
import pytest

from tnnquant.kernels import resize
from tnnquant.kernels.resize import axis_taps, resize_u8, resize_u8_naive

f32 = np.float32
SIZES = [(1, 1), (1, 5), (5, 1), (2, 3), (3, 2), (7, 7), (15, 16), (16, 15), (31, 33), (64, 9), (9, 64), (257, 100)]


def scalar_taps(in_size, out_size):
    """Weights by (output, input pixel), term by term as section 7.3.1 of the reference has them."""

    def catmull(x):
        x = f32(abs(x))
        if x < 1:
            return f32(1) - (x * x) * (f32(2.5) - f32(1.5) * x)
        return f32(2) - x * (f32(4) + x * (f32(0.5) * x - f32(2.5))) if x < 2 else f32(0)

    def mitchell(x):
        x = f32(abs(x))
        if x < 1:
            return (f32(16) + (x * x) * (f32(21) * x - f32(36))) / f32(18)
        return (f32(32) + x * (f32(-60) + x * (f32(36) - f32(7) * x))) / f32(18) if x < 2 else f32(0)

    s = f32(out_size) / f32(in_size)
    weights = [{} for _ in range(out_size)]
    if s > 1:
        for n in range(out_size):
            c, radius = f32(n) + f32(0.5), f32(2) * s
            lo, hi, centre = (c - radius) / s, (c + radius) / s, c / s
            for k in range(math.floor(float(lo) + 0.5), math.floor(float(hi) - 0.5) + 1):
                weights[n][k] = catmull(centre - (f32(k) + f32(0.5)))
    else:
        radius = f32(2) / s
        margin = math.ceil(f32(4) / s) // 2
        for m in range(-margin, in_size + margin):
            c = f32(m) + f32(0.5)
            first = math.floor(float((c - radius) * s) + 0.5)
            last = math.floor(float((c + radius) * s) - 0.5)
            for k in range(max(first, 0), min(last, out_size - 1) + 1):
                weights[k][m] = mitchell((f32(k) + f32(0.5)) - c * s) * s
    for taps in weights:
        total = f32(0)
        for m in sorted(taps):
            total += taps[m]
        for m in taps:
            taps[m] *= f32(1) / total
    return weights


@pytest.mark.parametrize(("in_size", "out_size"), SIZES)
def test_weights_are_those_of_the_formulas(in_size, out_size):
    first, weights = axis_taps(in_size, out_size)
    assert (first.dtype, weights.dtype) == (np.int64, np.float32)
    for output, expected in enumerate(scalar_taps(in_size, out_size)):
        got = {int(first[output]) + tap: w for tap, w in enumerate(weights[output]) if w}
        assert got == {k: w for k, w in expected.items() if w}


def test_an_axis_that_keeps_its_size_is_blurred():
    _, weights = axis_taps(10, 10)
    np.testing.assert_allclose(weights[5][weights[5] != 0], [1 / 18, 16 / 18, 1 / 18], rtol=1e-6)


def test_a_part_of_the_outputs_has_the_same_weights():
    first, weights = axis_taps(100, 37)
    some_first, some_weights = axis_taps(100, 37, 10, 20)
    np.testing.assert_array_equal(some_first, first[10:20])
    np.testing.assert_array_equal(some_weights, weights[10:20, : some_weights.shape[1]])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_fast_equals_naive(rng, channels):
    for (height, out_height), (width, out_width) in zip(SIZES, SIZES[5:] + SIZES[:5], strict=True):
        pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        x_taps, y_taps = axis_taps(width, out_width), axis_taps(height, out_height)
        want = np.empty((out_height, out_width, channels), np.uint8)
        resize_u8_naive(pixels, x_taps, y_taps, want)
        got = resize_u8(pixels, x_taps, y_taps, np.full_like(want, 99))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("size", SIZES)
def test_one_colour_stays_one_colour(size):
    (in_size, out_size) = size
    taps = axis_taps(in_size, out_size)
    for level in (0, 1, 128, 255):
        pixels = np.full((in_size, in_size, 1), level, np.uint8)
        assert (resize_u8(pixels, taps, taps, np.empty((out_size, out_size, 1), np.uint8)) == level).all()


def test_the_longest_allowed_side(rng):
    pixels = rng.integers(0, 256, (2, 65535, 1), dtype=np.uint8)
    x_taps, y_taps = axis_taps(65535, 3), axis_taps(2, 3)
    got = resize_u8(pixels, x_taps, y_taps, np.empty((3, 3, 1), np.uint8))
    want = resize_u8_naive(pixels, x_taps, y_taps, np.empty((3, 3, 1), np.uint8))
    np.testing.assert_array_equal(got, want)
    assert abs(int(got.mean()) - 127) <= 10



def test_without_compiler_the_naive_twin_serves(monkeypatch):
    called = []
    monkeypatch.setattr(resize.config, "DISABLE_JIT", True)
    monkeypatch.setattr(resize, "resize_u8_naive", lambda *args: called.append(args) or args[-1])
    taps = axis_taps(2, 3)
    resize_u8(np.zeros((2, 2, 1), np.uint8), taps, taps, np.empty((3, 3, 1), np.uint8))
    assert len(called) == 1


def test_pixels_are_those_of_tnn(shared):
    from PIL import Image

    golden = np.load(shared / "golden/squeezenet/sizes-b0w0t1/resized.npz")
    files = sorted((shared / "data/calibration-sizes").iterdir())
    assert len(files) == len(golden["pixels"]) == 16
    for file, want in zip(files, golden["pixels"], strict=True):
        with Image.open(file) as image:
            pixels = np.ascontiguousarray(np.asarray(image.convert("RGBA"))[..., :3])
        taps = axis_taps(pixels.shape[1], 227), axis_taps(pixels.shape[0], 227)
        np.testing.assert_array_equal(resize_u8(pixels, *taps, np.empty_like(want)), want, err_msg=file.name)
