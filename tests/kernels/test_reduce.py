"""The reduction kernel against TNN's loops."""

import numba
import numpy as np
import pytest

from tnnquant.kernels.reduce import MAX, MIN, SUM, reduce_f32, reduce_f32_naive

SHAPES = [
    (outer, n, inner)
    for outer in (1, 2, 3, 4, 5, 9, 50)
    for n in (1, 2, 7, 100)
    for inner in (1, 2, 17, 1023, 1024, 1025)
] + [(40000, 3, 1), (3, 50000, 1)]


@pytest.mark.parametrize("code", [SUM, MAX, MIN])
def test_reduction_equals_the_naive_loops(rng, code):
    for shape in SHAPES:
        x = rng.standard_normal(shape).astype(np.float32)
        out, want = np.full((2, shape[0] * shape[2] + 1), 7, np.float32)
        reduce_f32(code, x, 0.3, out[:-1].reshape(shape[0], shape[2]))
        reduce_f32_naive(code, x, np.float32(0.3), want[:-1].reshape(shape[0], shape[2]))
        assert out.tobytes() == want.tobytes(), shape


def test_extremes():
    x = np.array([np.nan, -np.inf, 1], np.float32).reshape(1, 3, 1)
    assert reduce_f32(MAX, x, 1, np.empty((1, 1), np.float32)) == 1
    assert reduce_f32(MIN, x, 1, np.empty((1, 1), np.float32)) == -np.inf
    assert reduce_f32(MAX, x[:, 1:2], 1, np.empty((1, 1), np.float32)) == np.finfo(np.float32).min
    assert np.isnan(reduce_f32(SUM, x, 1, np.empty((1, 1), np.float32)))


def test_the_bits_do_not_depend_on_the_threads(rng):
    x = rng.standard_normal((60, 5000, 1)).astype(np.float32)
    whole = reduce_f32(SUM, x, 1, np.empty((60, 1), np.float32))
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert reduce_f32(SUM, x, 1, np.empty((60, 1), np.float32)).tobytes() == whole.tobytes()
    finally:
        numba.set_num_threads(threads)
