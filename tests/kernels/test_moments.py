"""Sums for mean and variance, and the normalizations made of them, against TNN's loops."""

import numba
import numpy as np
import pytest

from tnnquant.kernels.moments import (
    affine_f64,
    affine_f64_naive,
    layer_norm_f32,
    layer_norm_f32_naive,
    moments_f32,
    moments_f32_naive,
)

SHAPES = [(outer, n, inner) for outer in (1, 2, 5) for n in (1, 3, 4, 5, 200) for inner in (1, 2, 33, 1024, 1025)] + [
    (3000, 9, 1),
    (2, 40000, 1),
    (1, 5000, 33),
]


def _random(rng, *shape):
    return (rng.standard_normal(shape) + 3).astype(np.float32)


def test_sums_equal_the_naive_loops(rng):
    for shape in SHAPES:
        x = _random(rng, *shape)
        want = np.empty((2, shape[0], shape[2]))
        moments_f32_naive(x, want)
        np.testing.assert_allclose(moments_f32(x), want, rtol=1e-12, err_msg=str(shape))


def test_squares_are_rounded_to_float32(rng):
    x = _random(rng, 1, 1, 1)
    assert moments_f32(x)[1, 0, 0] == np.float64(x[0, 0, 0] * x[0, 0, 0])


def test_affine_equals_the_naive_loops(rng):
    for shape in SHAPES:
        x = _random(rng, *shape)
        k, b = rng.standard_normal((2, shape[0], shape[2]))
        out, want = np.empty((2, *shape), np.float32)
        affine_f64(x, k, b, out)
        affine_f64_naive(x, k, b, want)
        assert out.tobytes() == want.tobytes(), shape


@pytest.mark.parametrize("n", [1, 3, 4, 17, 768, 20000])
def test_layer_norm_equals_the_naive_loops(rng, n):
    x, k, b = _random(rng, 9, n), _random(rng, n), _random(rng, n)
    out, want = np.empty((2, 9, n), np.float32)
    layer_norm_f32(x, k, b, 1e-3, out)
    layer_norm_f32_naive(x, k, b, np.float32(1e-3), want)
    np.testing.assert_allclose(out, want, rtol=1e-6, atol=1e-6)


def test_the_bits_do_not_depend_on_the_threads(rng):
    x = _random(rng, 3, 40000, 1)
    whole = moments_f32(x)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert moments_f32(x).tobytes() == whole.tobytes()
    finally:
        numba.set_num_threads(threads)
