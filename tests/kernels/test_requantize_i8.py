"""The two ways from sums to results, in registers and through memory: TNN's integers, at the edges of rounding too."""

import numpy as np
import pytest

from tnnquant.kernels.conv_i8 import conv2d_i8, conv2d_i8_naive
from tnnquant.kernels.geometry import RELU, RELU6, ConvGeometry
from tnnquant.kernels.pack_i8 import ConvQuant, pack_conv_i8

POINT = ConvGeometry(1, 1)
EVERY = np.arange(-128, 128).astype(np.int8)


def _quant(count, scale, zero_out=0, added_scale=0.5, added_zero=3, output_scale=1.0):
    ones, zeros = np.ones(count, np.float32), np.zeros(count, np.int8)
    return ConvQuant(
        weight_scale=ones * np.float32(scale),
        weight_zero=zeros,
        input_zero=np.zeros(1, np.int8),
        bias=np.zeros(count, np.int32),
        output_scale=ones * np.float32(output_scale),
        output_zero=zeros + np.int8(zero_out),
        added_scale=ones * np.float32(added_scale),
        added_zero=zeros + np.int8(added_zero),
    )


def _both(x, weight, quant, activation=0, fusion=0, added=None):
    """The packed kernel's results and those of TNN's loops."""
    shape = (1, x.shape[1], x.shape[2], len(weight))
    added = np.zeros(shape, np.int8) if added is None else added
    out, want = np.empty((2, *shape), np.int8)
    whole = (*quant[:2], np.zeros(x.shape[3], np.int8), *quant[3:])
    conv2d_i8_naive(x, weight, whole, tuple(POINT), activation, fusion, added, want)
    conv2d_i8(x, pack_conv_i8(weight, POINT, quant), POINT, activation, out, added if fusion else None, fusion)
    return out, want


@pytest.mark.parametrize("activation", [0, RELU, RELU6])
@pytest.mark.parametrize("scale", [0.5, 1.5, 1 / 3, 0.0, -0.5])
def test_every_input_is_rounded_half_away_from_zero(activation, scale):
    # One input channel: the results are x * w * scale, which lie between two integers for every other x. 256 positions
    # take full and smaller tiles, 70 channels whole panels and a part of one.
    x = np.ascontiguousarray(EVERY.reshape(1, 16, 16, 1))
    weight = np.resize([1, -1, 3, 2], 70).astype(np.int8).reshape(70, 1, 1, 1)
    out, want = _both(x, weight, _quant(70, scale, output_scale=0.1 if activation == RELU6 else 1.0), activation)
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("activation", [0, RELU, RELU6])
@pytest.mark.parametrize("fusion", [1, 2])
@pytest.mark.parametrize("channels", [5, 16, 24, 32, 40])
def test_a_fused_add_reads_and_writes_its_channels_only(rng, activation, fusion, channels):
    x = rng.integers(-128, 128, (1, 7, 7, 9)).astype(np.int8)
    weight = rng.integers(-127, 128, (channels, 9, 1, 1)).astype(np.int8)
    # The last pixel of the added blob ends where its memory does.
    added = rng.integers(-128, 128, (1, 7, 7, channels)).astype(np.int8)
    out, want = _both(x, weight, _quant(channels, 0.01), activation, fusion, added)
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("scale", [np.inf, -np.inf, np.nan, 3e38, 1e6])
@pytest.mark.parametrize("activation", [0, RELU, RELU6])
def test_results_beyond_int32_saturate(rng, scale, activation):
    x = np.ascontiguousarray(EVERY.reshape(1, 16, 16, 1))
    weight = np.resize([1, -127, 0], 40).astype(np.int8).reshape(40, 1, 1, 1)
    quant = _quant(40, scale)
    assert not pack_conv_i8(weight, POINT, quant).simple.bounded or scale == 1e6
    out, want = _both(x, weight, quant, activation)
    np.testing.assert_array_equal(out, want)


def test_which_results_are_simple():
    weight = np.full((3, 1, 1, 1), 127, np.int8)

    def simple(**changes):
        return pack_conv_i8(weight, POINT, _quant(3, **{"scale": 0.01, **changes})).simple

    assert simple().with_activation(0)
    assert not simple(zero_out=1).with_activation(RELU)
    assert simple(zero_out=1).with_activation(RELU6)
    # 127 * 255 * 40000 is more than a thousand million, 255 * 5000000 likewise.
    assert not simple(scale=40000).with_activation(RELU6)
    assert not simple(added_scale=5e6).bounded
    assert not simple(added_scale=np.nan).bounded
