"""The int8 convolutions against TNN's loops: equal, over shapes that straddle every block width and all epilogues."""

import ctypes
import mmap
import sys

import numba
import numpy as np
import pytest

from tnnquant.kernels.conv_i8 import conv2d_i8, conv2d_i8_naive
from tnnquant.kernels.depthwise_i8 import depthwise_i8
from tnnquant.kernels.gemm_i8 import gemm_i8, gemm_i8_naive
from tnnquant.kernels.geometry import ConvGeometry
from tnnquant.kernels.pack_i8 import ConvQuant, pack_conv_i8, pack_depthwise_i8, pack_inner_product_i8

GUARD = np.int8(7)

# name: image (N, H, W), geometry, output size
WINDOWS = {
    "1x1": ((1, 6, 7), ConvGeometry(1, 1), (6, 7)),
    "1x1, one pixel": ((1, 1, 1), ConvGeometry(1, 1), (1, 1)),
    "1x1, stride 2": ((2, 7, 6), ConvGeometry(1, 1, 2, 2), (4, 3)),
    "3x3, stride 2x1, pad 1": ((2, 9, 8), ConvGeometry(3, 3, 2, 1, 1, 1), (5, 8)),
    "3x2, dilation 2": ((1, 9, 8), ConvGeometry(3, 2, 1, 2, 1, 0, 2, 2), (7, 4)),
    "negative pads": ((1, 11, 11), ConvGeometry(1, 1, 4, 4, -1, -1), (3, 3)),
    "more padding than image": ((1, 3, 2), ConvGeometry(3, 3, 1, 1, 4, 4), (9, 8)),
    "5x1": ((2, 12, 5), ConvGeometry(5, 1, 2, 3, 2, 1), (6, 2)),
    "1x5": ((2, 5, 12), ConvGeometry(1, 5, 2, 2, 1, 2), (3, 6)),
    "5x5, stride 2": ((1, 9, 11), ConvGeometry(5, 5, 2, 2, 2, 1), (5, 5)),
}


def _i8(rng, low, high, *shape):
    return rng.integers(low, high + 1, shape).astype(np.int8)


def _quant(rng, channels, out_channels, depth, weight_zero, input_zero, activation, per_channel=True):
    """Scales that spread the results over the int8 range, and zero points where asked for."""
    n, c = (out_channels, channels) if per_channel else (1, 1)
    scale_out = rng.uniform(0.5, 1.5, n).astype(np.float32) * np.float32(0.1 if activation == 2 else 1)
    return ConvQuant(
        weight_scale=rng.uniform(0.5, 2, n).astype(np.float32) / np.float32(60 * np.sqrt(depth)),
        weight_zero=_i8(rng, -100, 100, n) if weight_zero else np.zeros(n, np.int8),
        input_zero=_i8(rng, -128, 127, c) if input_zero else np.zeros(1, np.int8),
        bias=rng.integers(-2000, 2000, out_channels).astype(np.int32),
        output_scale=scale_out,
        output_zero=_i8(rng, -50, 50, n) if input_zero else np.zeros(n, np.int8),
        added_scale=rng.uniform(0.5, 1.5, n).astype(np.float32),
        added_zero=_i8(rng, -50, 50, n),
    )


def _spread(quant, channels, out_channels):
    """The same with one value per channel, as the naive kernel wants it."""
    lengths = (out_channels, out_channels, channels, out_channels, *[out_channels] * 4)
    return tuple(np.ascontiguousarray(np.broadcast_to(v, (n,))) for v, n in zip(quant, lengths, strict=True))


def _check(rng, window, channels, out_channels, groups=1, activation=0, fusion=0, weight_zero=False, input_zero=False,
           per_channel=True, positive=False, extra=0):  # fmt: skip
    (images, height, width), geometry, out_size = window
    geometry = geometry._replace(groups=groups)
    x = _i8(rng, 0 if positive else -128, 127, images, height, width, channels + extra)[..., extra:]
    weight = _i8(rng, -128, 127, out_channels, channels // groups, geometry.kernel_h, geometry.kernel_w)
    quant = _quant(rng, channels, out_channels, weight[0].size, weight_zero, input_zero, activation, per_channel)
    added = _i8(rng, -128, 127, images, *out_size, out_channels + 3)[..., 2:-1]
    wide = np.full((images, *out_size, out_channels + extra), GUARD)
    out, want = wide[..., :out_channels], np.empty((images, *out_size, out_channels), np.int8)
    conv2d_i8_naive(np.ascontiguousarray(x), weight, _spread(quant, channels, out_channels), tuple(geometry),
                    activation, fusion, np.ascontiguousarray(added), want)  # fmt: skip
    if groups == channels and groups > 1:
        depthwise_i8(x, pack_depthwise_i8(weight, geometry, quant), geometry, activation, out)
    else:
        conv2d_i8(x, pack_conv_i8(weight, geometry, quant), geometry, activation, out, added, fusion)
    assert (wide[..., out_channels:] == GUARD).all(), "wrote outside its channels"
    np.testing.assert_array_equal(out, want)


def _sweep(rng, window, channel_table, out_table):
    for c, channels in enumerate(channel_table):
        for o, out_channels in enumerate(out_table):
            k = c * len(out_table) + o
            _check(rng, window, channels, out_channels, activation=k % 3, fusion=k // 3 % 3, weight_zero=k % 5 == 1,
                   input_zero=k % 4 == 1, per_channel=k % 7 != 2, positive=k % 2 == 0, extra=k % 3)  # fmt: skip


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_convolution_equals_the_naive_loops(rng, window):
    _sweep(rng, window, (1, 2, 3, 4, 5, 15, 16, 17, 33, 64), (1, 7, 8, 15, 16, 17, 31, 33, 65, 130))


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_small_table(rng, window):
    """What the other instruction paths are run with (tests/kernels/test_target.py)."""
    _sweep(rng, window, (3, 16, 21), (5, 40, 70))
    for channels in (5, 16, 35):
        _check(rng, window, channels, channels, groups=channels, weight_zero=channels == 5, input_zero=channels == 16)


# What decides how tiles of 16 positions x 64 products are laid out (kernels/conv_amx.py): name: window, channels, out.
TILED = {
    **{f"1x1, {m} rows": (((1, 1, m), ConvGeometry(1, 1), (1, m)), 70, 33) for m in (3, 4, 15, 16, 17, 31, 32, 47, 65)},
    "1x1, whole steps, 2 images": (((2, 5, 7), ConvGeometry(1, 1), (5, 7)), 128, 64),
    "1x1, one channel": (((1, 6, 9), ConvGeometry(1, 1), (6, 9)), 1, 3),
    "3x3, pad 1": (((2, 7, 9), ConvGeometry(3, 3, 1, 1, 1, 1), (7, 9)), 64, 40),
    "3x3, stride 2, pad 1": (((1, 9, 14), ConvGeometry(3, 3, 2, 2, 1, 1), (5, 7)), 33, 65),
    "3x3, stride 3x2": (((1, 11, 12), ConvGeometry(3, 3, 3, 2, 1, 1), (4, 6)), 16, 16),
    "7x7, stride 2, 3 channels": (((1, 21, 23), ConvGeometry(7, 7, 2, 2, 3, 3), (11, 12)), 3, 16),
    "3x3, stride 2, dilation 3": (((1, 15, 16), ConvGeometry(3, 3, 2, 2, 3, 3, 3, 3), (8, 8)), 20, 24),
    "one row of outputs": (((1, 3, 40), ConvGeometry(3, 3, 1, 1, 0, 1), (1, 40)), 64, 32),
    "one column of outputs": (((1, 40, 3), ConvGeometry(3, 3, 1, 1, 1, 0), (40, 1)), 24, 32),
}


@pytest.mark.parametrize(("window", "channels", "out_channels"), TILED.values(), ids=TILED.keys())
def test_small_table_of_tiles(rng, window, channels, out_channels):
    for k in range(9):
        _check(rng, window, channels, out_channels, activation=k % 3, fusion=k // 3, weight_zero=k % 4 == 1,
               input_zero=k % 4 == 2, per_channel=k % 2 == 0, extra=k % 3)  # fmt: skip
    _check(rng, window, 2 * channels, 2 * out_channels, groups=2, activation=1)
    _check(rng, window, 64, 34, groups=2, weight_zero=True, input_zero=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_tiles_read_nothing_beyond_the_image(rng):
    """Steps of 64 products read on after the last pixel: not where a page follows that does not exist."""
    page = mmap.PAGESIZE
    memory = np.frombuffer(mmap.mmap(-1, 3 * page), np.int8)
    address = memory.ctypes.data
    libc = ctypes.CDLL(None)
    if libc.mprotect(ctypes.c_void_p(address + 2 * page), ctypes.c_size_t(page), 0) != 0:
        pytest.skip("needs a page that cannot be read")
    geometry = ConvGeometry(1, 1)
    try:
        for rows, channels in ((4, 3), (17, 20), (40, 33), (66, 2)):
            x = memory[2 * page - rows * channels : 2 * page].reshape(1, 1, rows, channels)
            x[...] = _i8(rng, -128, 127, *x.shape)
            weight = _i8(rng, -127, 127, 40, channels, 1, 1)
            packed = pack_conv_i8(weight, geometry, _quant(rng, channels, 40, channels, False, False, 0))
            got, want = np.empty((2, 1, 1, rows, 40), np.int8)
            conv2d_i8(x, packed, geometry, 0, got)
            conv2d_i8(np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 7)))[..., :channels], packed, geometry, 0, want)
            np.testing.assert_array_equal(got, want)
    finally:
        libc.mprotect(ctypes.c_void_p(address + 2 * page), ctypes.c_size_t(page), 3)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_grouped_convolution_equals_the_naive_loops(rng, window):
    for groups, channels, out_channels in ((2, 2, 2), (2, 6, 34), (3, 15, 48), (4, 64, 68)):
        for positive in (False, True):
            _check(rng, window, channels, out_channels, groups=groups, activation=groups % 3, positive=positive,
                   weight_zero=groups == 3, input_zero=groups == 4)  # fmt: skip


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_depthwise_convolution_equals_the_naive_loops(rng, window):
    for k, channels in enumerate((2, 7, 15, 16, 17, 31, 32, 33, 65, 130)):
        for multiplier in (1, 2, 3):
            _check(rng, window, channels, channels * multiplier, groups=channels, activation=k % 3,
                   weight_zero=(k + multiplier) % 2 == 0, input_zero=k % 3 > 0, extra=k % 2)  # fmt: skip


@pytest.mark.parametrize("rows", [1, 2, 5, 7])
def test_inner_product_equals_the_naive_loops(rng, rows):
    for depth in (1, 3, 64, 301):
        for out_channels in (1, 16, 65, 200):
            x, weight = _i8(rng, -128, 127, rows, depth + 1)[:, :depth], _i8(rng, -127, 127, out_channels, depth)
            quant = _quant(rng, depth, out_channels, depth, rows == 5, rows == 2, 0)
            out, want = np.empty((2, rows, out_channels), np.int8)
            gemm_i8_naive(np.ascontiguousarray(x), weight, (*_spread(quant, depth, out_channels)[:6], None, None), want)
            gemm_i8(x, pack_inner_product_i8(weight, quant), out)
            np.testing.assert_array_equal(out, want)


def test_sums_never_saturate(rng):
    """The largest products there are, over a reduction whose sum leaves 24 bits."""
    weight = np.full((16, 4096), -127, np.int8)
    for value in (-128, 127):
        quant = ConvQuant(np.float32([2**-20]), np.zeros(1, np.int8), np.zeros(1, np.int8), None, np.ones(1,
                          np.float32), np.zeros(1, np.int8))  # fmt: skip
        x, out = np.full((6, 4096), value, np.int8), np.empty((6, 16), np.int8)
        gemm_i8(x, pack_inner_product_i8(weight, quant), out)
        assert (out == np.round(-127.0 * value * 4096 * 2**-20)).all()


def test_a_dead_output_scale_gives_the_zero_point(rng):
    quant = _quant(rng, 4, 5, 4, False, True, 0)._replace(output_scale=np.zeros(5, np.float32))
    x, weight = _i8(rng, -128, 127, 1, 3, 3, 4), _i8(rng, -127, 127, 5, 4, 1, 1)
    geometry = ConvGeometry(1, 1)
    out = conv2d_i8(x, pack_conv_i8(weight, geometry, quant), geometry, 0, np.empty((1, 3, 3, 5), np.int8))
    assert (out == quant.output_zero).all()


def test_results_do_not_depend_on_threads(rng):
    x, weight = _i8(rng, 0, 127, 1, 30, 30, 24), _i8(rng, -127, 127, 40, 24, 3, 3)
    x[0, 20:] -= 5  # some tasks see negative values, others do not
    geometry = ConvGeometry(3, 3, 1, 1, 1, 1)
    packed = pack_conv_i8(weight, geometry, _quant(rng, 24, 40, 216, False, False, 0))
    results, threads = [], numba.get_num_threads()
    for count in {1, threads}:
        numba.set_num_threads(count)
        results.append(conv2d_i8(x, packed, geometry, 1, np.empty((1, 30, 30, 40), np.int8)).tobytes())
    numba.set_num_threads(threads)
    assert len(set(results)) == 1
