"""The fp32 convolutions against TNN's loops, over shapes that straddle every block width."""

import numba
import numpy as np
import pytest

from tnnquant.kernels import program
from tnnquant.kernels.conv_f32 import conv2d_f32, conv2d_f32_naive, conv2d_f32_op
from tnnquant.kernels.depthwise_f32 import depthwise_f32
from tnnquant.kernels.gemm_f32 import gemm_f32, gemm_f32_naive
from tnnquant.kernels.geometry import ConvGeometry
from tnnquant.kernels.pack_f32 import pack_conv_f32, pack_depthwise_f32, pack_inner_product_f32
from tnnquant.kernels.tile_f32 import EXACT

CHANNELS = (1, 3, 8, 15, 16, 17, 31, 33)
OUT_CHANNELS = (1, 7, 8, 9, 15, 16, 17, 31, 33, 65, 130)
GUARD = np.float32(7)

# name, image (N, H, W), geometry, output size
WINDOWS = {
    "1x1": ((1, 6, 7), ConvGeometry(1, 1), (6, 7)),
    "1x1, two images": ((2, 5, 5), ConvGeometry(1, 1), (5, 5)),
    "1x1, one pixel": ((1, 1, 1), ConvGeometry(1, 1), (1, 1)),
    "1x1, stride 2": ((1, 7, 6), ConvGeometry(1, 1, 2, 2), (4, 3)),
    "3x3, pad 1": ((2, 9, 8), ConvGeometry(3, 3, 1, 1, 1, 1), (9, 8)),
    "3x3, stride 2x1, pad 1": ((2, 9, 8), ConvGeometry(3, 3, 2, 1, 1, 1), (5, 8)),
    "3x3 inside": ((1, 9, 8), ConvGeometry(3, 3, 2, 2), (4, 3)),
    "3x2, dilation 2": ((1, 9, 8), ConvGeometry(3, 2, 1, 2, 1, 0, 2, 2), (7, 4)),
    "3x3, dilation 3x1, pad 2": ((1, 4, 4), ConvGeometry(3, 3, 1, 1, 2, 2, 3, 1), (2, 6)),
    "negative pads": ((1, 11, 11), ConvGeometry(1, 1, 4, 4, -1, -1), (3, 3)),
    "more padding than image": ((1, 3, 2), ConvGeometry(3, 3, 1, 1, 4, 4), (9, 8)),
    "5x1": ((1, 12, 3), ConvGeometry(5, 1, 1, 1, 2, 0), (12, 3)),
}


def _random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def _check(rng, window, channels, out_channels, groups=1, slices=(0, 0), activation=0):
    """Runs the fast and the naive kernel; x and out are channel slices of wider arrays when ``slices`` says so."""
    (images, height, width), geometry, out_size = window
    geometry = geometry._replace(groups=groups)
    x = _random(rng, images, height, width, channels + slices[0])[..., slices[0] :]
    weight = _random(rng, out_channels, channels // groups, geometry.kernel_h, geometry.kernel_w)
    bias = _random(rng, out_channels)
    wide = np.full((images, *out_size, out_channels + slices[1]), GUARD)
    out = wide[..., :out_channels]
    want = np.empty((images, *out_size, out_channels), np.float32)
    conv2d_f32_naive(np.ascontiguousarray(x), weight, bias, tuple(geometry), activation, want)
    if groups == channels and groups > 1:
        depthwise_f32(x, pack_depthwise_f32(weight, bias), geometry, activation, out)
    else:
        conv2d_f32(x, pack_conv_f32(weight, bias, groups), geometry, activation, out)
    assert (wide[..., out_channels:] == GUARD).all(), "wrote outside its channels"
    np.testing.assert_allclose(out, want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_convolution_equals_the_naive_loops(rng, window):
    for index, channels in enumerate(CHANNELS):
        for out_channels in OUT_CHANNELS:
            _check(rng, window, channels, out_channels, slices=(index % 2, out_channels % 3), activation=index % 3)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_small_table(rng, window):
    """What the other instruction paths are run with (tests/kernels/test_target.py)."""
    for channels, out_channels in ((3, 5), (16, 40), (21, 70)):
        _check(rng, window, channels, out_channels, slices=(1, 2), activation=channels % 3)
    _check(rng, window, 35, 35, groups=35)


@pytest.mark.parametrize("exact", [0, EXACT], ids=["fused", "exact"])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_small_table_with_an_add(rng, window, exact):
    """An Add in the epilogue, and the activation after it, have the bits of passes of their own."""
    (images, height, width), geometry, out_size = window
    for k, (channels, out_channels) in enumerate(((3, 5), (8, 70), (16, 17), (21, 33), (20, 130))):
        groups = 1 + (channels == 20)
        x = _random(rng, images, height, width, channels)
        weight = _random(rng, out_channels, channels // groups, geometry.kernel_h, geometry.kernel_w)
        packed = pack_conv_f32(weight, _random(rng, out_channels), groups)
        added = _random(rng, images, *out_size, out_channels + k)[..., k:]
        alone, both = np.empty((2, images, *out_size, out_channels), np.float32)
        conv2d_f32(x, packed, geometry._replace(groups=groups), k % 2 + exact, alone)
        conv2d_f32(x, packed, geometry._replace(groups=groups), k % 2 + exact, both, added, k % 3)
        want = alone + added
        if k % 3:
            want = np.maximum(want, np.float32(0))
        if k % 3 == 2:
            want = np.minimum(want, np.float32(6))
        np.testing.assert_array_equal(both, want)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_grouped_convolution_equals_the_naive_loops(rng, window):
    for groups, channels, out_channels in ((2, 2, 2), (2, 6, 34), (3, 15, 48), (4, 64, 68)):
        _check(rng, window, channels, out_channels, groups=groups, slices=(groups % 2, 1), activation=groups % 3)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_depthwise_convolution_equals_the_naive_loops(rng, window):
    for channels in (2, 7, 8, 15, 16, 17, 32, 33, 63, 65, 129):
        for multiplier in (1, 2, 3):
            _check(rng, window, channels, channels * multiplier, groups=channels, slices=(multiplier % 2, channels % 2),
                   activation=channels % 3)  # fmt: skip


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 13])
def test_matrix_product_equals_the_naive_loops(rng, rows):
    for depth in (1, 15, 300):
        for out_channels in (1, 16, 63, 64, 65, 200):
            x, weight, bias = (
                _random(rng, rows, depth + 3)[:, :depth],
                _random(rng, out_channels, depth),
                _random(rng, out_channels),
            )
            out, want = np.empty((2, rows, out_channels), np.float32)
            gemm_f32_naive(np.ascontiguousarray(x), weight, bias, 1, want)
            gemm_f32(x, pack_inner_product_f32(weight, bias), 1, out)
            np.testing.assert_allclose(out, want, rtol=0, atol=1e-5 * np.abs(want).max() + 1e-30)


@pytest.mark.parametrize("exact", [0, EXACT], ids=["fused", "exact"])
@pytest.mark.parametrize("size", [(6, 5), (6, 6), (7, 7), (4, 8), (3, 2), (5, 3)], ids=str)
def test_sums_in_parts_have_the_bits_of_whole_sums(rng, size, exact):
    """Weights too large for the nearest caches are taken in parts, for two panels at once; a panel alone is not."""
    same = ConvGeometry(3, 3, 1, 1, 1, 1)
    for channels, out_channels, groups, geometry in (
        (96, 130, 1, same),
        (192, 128, 2, same._replace(groups=2)),
        (640, 64, 1, ConvGeometry(1, 1)),
        (601, 64, 1, ConvGeometry(1, 1)),
    ):
        x = _random(rng, 2, *size, channels)
        weight = _random(rng, out_channels, channels // groups, geometry.kernel_h, geometry.kernel_w)
        bias, added = _random(rng, out_channels), _random(rng, 2, *size, out_channels)
        out = np.empty((2, *size, out_channels), np.float32)
        conv2d_f32(x, pack_conv_f32(weight, bias, groups), geometry, exact, out, added, 1)
        want = np.empty_like(out)
        conv2d_f32_naive(x, weight, bias, tuple(geometry), 0, want)
        want = np.maximum(want + added, np.float32(0))
        np.testing.assert_allclose(out, want, rtol=0, atol=1e-5 * np.abs(want).max())
        if exact:
            np.testing.assert_array_equal(out, want)
        count, depth = 31, channels // groups
        for first in range(0, out_channels, out_channels // groups):
            few, group = slice(first, first + count), first // (out_channels // groups)
            alone = np.empty((2, *size, count), np.float32)
            here = x[..., group * depth : (group + 1) * depth]
            conv2d_f32(here, pack_conv_f32(weight[few], bias[few]), geometry._replace(groups=1), exact, alone,
                       added[..., few], 1)  # fmt: skip
            assert alone.tobytes() == out[..., few].tobytes()


def test_no_bias_counts_as_zero(rng):
    x, weight = _random(rng, 4, 9), _random(rng, 5, 9)
    out = gemm_f32(x, pack_inner_product_f32(weight), 0, np.empty((4, 5), np.float32))
    np.testing.assert_allclose(out, x @ weight.T, rtol=1e-4, atol=1e-5)


def test_the_bits_do_not_depend_on_tile_position_or_threads(rng):
    """A pixel alone, in a full tile and in a tail gives the same bits, on one thread and on all."""
    x, weight, bias = _random(rng, 100, 70), _random(rng, 90, 70), _random(rng, 90)
    packed = pack_inner_product_f32(weight, bias)
    whole = gemm_f32(x, packed, 0, np.empty((100, 90), np.float32))
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        for start, stop in ((0, 1), (3, 5), (11, 15), (90, 100)):
            part = gemm_f32(x[start:stop], packed, 0, np.empty((stop - start, 90), np.float32))
            assert part.tobytes() == whole[start:stop].tobytes()
        assert gemm_f32(x, packed, 0, np.empty((100, 90), np.float32)).tobytes() == whole.tobytes()
    finally:
        numba.set_num_threads(threads)


def test_activation_of_nan_is_zero_as_in_tnn(rng):
    x = np.full((1, 1, 1, 4), np.nan, np.float32)
    packed = pack_conv_f32(_random(rng, 3, 4, 1, 1))
    out = np.empty((1, 1, 1, 3), np.float32)
    assert np.isnan(conv2d_f32(x, packed, ConvGeometry(1, 1), 0, out)).all()
    assert (conv2d_f32(x, packed, ConvGeometry(1, 1), 1, out) == 0).all()


def test_a_program_runs_its_ops_in_order(rng):
    """Two convolutions chained through one buffer, written into two halves of a third: a concat without a copy."""
    x, weight = _random(rng, 1, 20, 20, 8), _random(rng, 8, 8, 3, 3)
    packed, same = pack_conv_f32(weight), ConvGeometry(3, 3, 1, 1, 1, 1)
    middle, joined = np.empty((1, 20, 20, 8), np.float32), np.empty((1, 20, 20, 16), np.float32)
    ops = [
        conv2d_f32_op(x, packed, same, 0, middle),
        conv2d_f32_op(middle, packed, same, 0, joined[..., :8]),
        conv2d_f32_op(joined[..., :8], packed, same, 0, joined[..., 8:]),
    ]
    plan = program.Program(ops, keep=(x, packed, middle, joined))
    assert len(plan) == 3
    for _ in range(2):
        joined[...] = 0
        plan.run()
    wanted = x
    for _ in range(3):
        wanted, previous = conv2d_f32(wanted, packed, same, 0, np.empty((1, 20, 20, 8), np.float32)), wanted
    assert np.array_equal(joined[..., 8:], wanted)
    assert np.array_equal(joined[..., :8], previous)
