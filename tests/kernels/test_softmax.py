"""The softmax kernel against TNN's loops."""

import numba
import numpy as np
import pytest

from tnnquant.kernels.softmax import softmax_f32, softmax_f32_naive

SHAPES = [
    (outer, n, inner)
    for outer in (1, 3)
    for n in (1, 2, 3, 4, 5, 17, 1000)
    for inner in (1, 2, 33, 511, 512, 513, 1100)
    if outer * n * inner < 600_000
] + [(5000, 7, 1), (1, 30000, 1)]


def test_softmax_equals_the_naive_loops(rng):
    for shape in SHAPES:
        x = (rng.standard_normal(shape) * 5).astype(np.float32)
        out, want = np.empty((2, *shape), np.float32)
        softmax_f32(x, out)
        softmax_f32_naive(x, want)
        np.testing.assert_allclose(out, want, rtol=2e-6, atol=1e-12, err_msg=str(shape))


@pytest.mark.parametrize("inner", [1, 2])
def test_softmax_of_extremes(inner):
    x = np.array([[1e30, -1e30, 0], [np.nan, 0, 1], [-np.inf, 0, 0], [-np.inf] * 3], np.float32)
    x = np.ascontiguousarray(np.repeat(x[:, :, None], inner, axis=2))
    out = softmax_f32(x, np.empty_like(x))[:, :, inner - 1]
    np.testing.assert_array_equal(out, [[1, 0, 0], [np.nan] * 3, [0, 0.5, 0.5], [np.nan] * 3])


@pytest.mark.parametrize("inner", [1, 600])
def test_the_bits_do_not_depend_on_the_threads(rng, inner):
    x = rng.standard_normal((40, 700, inner)).astype(np.float32)
    whole = softmax_f32(x, np.empty_like(x))
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert softmax_f32(x, np.empty_like(x)).tobytes() == whole.tobytes()
    finally:
        numba.set_num_threads(threads)
