"""Float arrays into int8 inputs: the codes of TNN's quantization, whatever the rank and memory layout."""

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, QuantParams
from tnnquant.engine.feed import Feed
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.int8 import as_pixels, dequantized, from_pixels, quantized

# 0.49999997 + 0.5 is 1 in float32: TNN adds before it cuts off.
RULE = [(0.5, 1), (-0.5, -1), (0.49999997, 1), (0.4999, 0), (1.5, 2), (126.5, 127), (400, 127), (-127.5, -128)]


@pytest.mark.parametrize(("value", "code"), [*RULE, (np.nan, 127), (np.inf, 127), (-np.inf, -128)])
def test_rounding_is_half_away_from_zero_and_saturates(value, code):
    params = QuantParams(np.ones(1, np.float32), np.zeros(1, np.int8))
    blob = np.full((1, 2, 3, 3), value, np.float32)
    assert (quantized(blob, params) == code).all()
    place = np.zeros((1, 3, 3, 2), np.int8).transpose(0, 3, 1, 2)
    assert (Feed(BlobSpec(blob.shape, DataType.INT8), params, place)(blob) == code).all()


@pytest.mark.parametrize("dims", [(2, 3, 17, 19), (1, 16, 40, 40), (1, 1, 1, 1)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_feed_equals_the_plain_formula(rng, dims, per_channel):
    n = dims[1] if per_channel else 1
    scale = rng.uniform(0.01, 0.1, n).astype(np.float32)
    scale[-1] = 0 if per_channel and n > 1 else scale[-1]
    params = QuantParams(scale, rng.integers(-5, 5, n).astype(np.int8))
    x = rng.standard_normal(dims).astype(np.float32)
    place = np.zeros((dims[0], *dims[2:], dims[1]), np.int8).transpose(0, 3, 1, 2)
    feed = Feed(BlobSpec(dims, DataType.INT8), params, place)
    expected = quantized(x, params)
    if per_channel and n > 1:
        assert not expected[:, -1].any()
    for array in (x, as_pixels(x).transpose(0, 3, 1, 2), x.astype(np.float64)):
        np.testing.assert_array_equal(feed(array), expected)
    np.testing.assert_array_equal(Feed(BlobSpec(dims, DataType.INT8), params, None)(x), expected)


def test_quantized_and_dequantized_are_inverse_on_codes(rng):
    codes = rng.integers(-128, 128, (2, 5, 7)).astype(np.int8)
    params = QuantParams(rng.uniform(0.01, 2, 5).astype(np.float32), rng.integers(-9, 9, 5).astype(np.int8))
    np.testing.assert_array_equal(quantized(dequantized(codes, params), params), codes)


@pytest.mark.parametrize("dims", [(3,), (2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 2)])
def test_pixels_and_back(rng, dims):
    x = rng.standard_normal(dims)
    pixels = as_pixels(x)
    assert pixels.ndim == 4
    assert pixels.flags.c_contiguous
    assert pixels.shape[3] == (dims[1] if len(dims) > 1 else 1)
    np.testing.assert_array_equal(from_pixels(pixels, dims), x)


@pytest.mark.parametrize("dims", [(2, 3, 17, 19), (1, 16, 9, 7)])
def test_floats_go_to_their_place(rng, dims):
    x = rng.standard_normal(dims).astype(np.float32)
    place = np.zeros((dims[0], *dims[2:], dims[1]), np.float32).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(Feed(BlobSpec(dims), None, place)(x), x)
    np.testing.assert_array_equal(Feed(BlobSpec(dims), None, None)(x.astype(np.float64)), x)
