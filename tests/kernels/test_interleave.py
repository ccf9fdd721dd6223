"""Planes into pixels, against the naive twins."""

import numpy as np
import pytest

from tnnquant.kernels import program
from tnnquant.kernels.interleave import MOST_CHANNELS, SOURCE, interleave_f32_naive, interleave_i8_naive, interleave_op

SHAPES = [(1, 1), (3, 5), (4, 4), (17, 1), (5, 13), (33, 31), (101, 97)]


@pytest.mark.parametrize("channels", range(1, MOST_CHANNELS + 1))
@pytest.mark.parametrize("images", [1, 2])
def test_both_forms_equal_their_naive_twins(rng, channels, images):
    scale = rng.uniform(0.01, 0.2, channels).astype(np.float32)
    zero = rng.integers(-9, 10, channels).astype(np.int8)
    scale[0] = 0 if channels == 4 else scale[0]
    for height, width in SHAPES:
        x = (rng.standard_normal((images, channels, height, width)) * 9).astype(np.float32)
        flat = x.reshape(images, channels, -1)
        floats = np.full((images, height, width, channels), np.nan, np.float32)
        codes = np.full(floats.shape, 99, np.int8)
        for out, arguments in ((floats, ()), (codes, (scale, zero))):
            op, _table = interleave_op(x, out, *arguments)
            program.run(op)
        want_floats, want_codes = np.empty_like(floats), np.empty_like(codes)
        interleave_f32_naive(flat, want_floats.reshape(images, -1, channels))
        interleave_i8_naive(flat, scale, zero, want_codes.reshape(images, -1, channels))
        np.testing.assert_array_equal(floats, want_floats)
        np.testing.assert_array_equal(codes, want_codes)


def test_the_source_may_be_exchanged(rng):
    a, b = rng.standard_normal((2, 1, 3, 7, 9)).astype(np.float32)
    out = np.empty((1, 7, 9, 3), np.float32)
    op, _table = interleave_op(a, out)
    op[0, SOURCE] = program.data_address(b)
    program.run(op)
    np.testing.assert_array_equal(out, b.transpose(0, 2, 3, 1))
