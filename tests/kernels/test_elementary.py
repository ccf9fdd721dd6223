"""The vectorizable exponential against the C library's."""

import math

import numpy as np

from tnnquant.kernels.elementary import bits_float, erf_f32, exp_f32, float_bits, float_word
from tnnquant.kernels.jit import kernel


@kernel
def _exponentials(x, out):
    for i in range(x.size):
        out[i] = exp_f32(x[i])


@kernel
def _errors(x, out):
    for i in range(x.size):
        out[i] = erf_f32(x[i])


@kernel
def _there_and_back(x, out):
    for i in range(x.size):
        out[i] = bits_float(float_bits(x[i]))


def test_exponential_is_within_one_last_bit():
    x = np.concatenate([np.linspace(-104, 89, 200_003), np.linspace(-1, 1, 100_003)]).astype(np.float32)
    out = np.empty_like(x)
    _exponentials(x, out)
    want = np.exp(x.astype(np.float64))
    with np.errstate(over="ignore"):
        finite = np.isfinite(want.astype(np.float32))
        step = np.spacing(want.astype(np.float32))
    assert (np.abs(out - want)[finite] <= step[finite]).all()
    assert (out[~finite] == np.inf).all()


def test_exponential_of_the_extremes():
    x = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 300, -300, 1e-30], np.float32)
    out = np.empty_like(x)
    _exponentials(x, out)
    np.testing.assert_array_equal(out, np.array([np.nan, np.inf, 0, 1, 1, np.inf, 0, 1], np.float32))


def test_error_function_is_within_two_last_bits():
    x = np.concatenate([np.linspace(-6, 6, 100_003), np.geomspace(1e-38, 1, 1001), [0.921875]]).astype(np.float32)
    out = np.empty_like(x)
    _errors(x, out)
    want = np.array([math.erf(value) for value in x.tolist()])
    assert (np.abs(out - want) <= 2 * np.spacing(np.abs(want).astype(np.float32))).all()
    x = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 3e38, -3e38], np.float32)
    out = np.empty_like(x)
    _errors(x, out)
    np.testing.assert_array_equal(out, np.array([np.nan, 1, -1, 0, -0.0, 1, -1], np.float32))


def test_bits():
    x = np.array([1.5, -0.0, np.inf], np.float32)
    out = np.empty_like(x)
    _there_and_back(x, out)
    assert out.tobytes() == x.tobytes()
    assert float_word(1.0) == 0x3F800000
    assert float_word(-0.0) == -0x80000000
