"""Element-wise kernels against their naive twins."""

import numba
import numpy as np
import pytest
from tnnquant.kernels import eltwise
from tnnquant.kernels.eltwise import (
    ADD,
    AFFINE,
    BOUND,
    CLIP,
    DIV,
    HARD_SWISH,
    MUL,
    PRELU,
    SIGMOID,
    SUB,
    SWISH,
    binary_f32,
    binary_f32_naive,
    channel_f32,
    channel_f32_naive,
    map_f32,
    map_f32_naive,
)

SIZES = (1, 7, 8, 9, 31, 33, 1000, eltwise.BLOCK, eltwise.BLOCK + 1, 3 * eltwise.BLOCK - 5)
EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, 6.0, 6.0001, 88.7, 88.8, -88.7, -103.9, -104.1, 1e-20, -1e30, 3e38, np.inf, -np.inf, np.nan],
    np.float32,
)


def _random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("code", [BOUND, CLIP, SIGMOID, SWISH, HARD_SWISH])
def test_functions_equal_the_naive_loops(rng, code):
    for size in SIZES:
        x = (_random(rng, size) * 20).astype(np.float32)
        x[: EDGES.size] = EDGES[:size]
        out, want = np.full((2, size + 1), 7, np.float32)
        map_f32(code, x, 0.2, 0.5, out[:size])
        map_f32_naive(code, x, np.float32(0.2), np.float32(0.5), want[:size])
        assert out[size] == 7
        np.testing.assert_allclose(out, want, rtol=1e-6, atol=1e-37)


def test_bound_and_clip_of_nan_and_of_crossed_bounds():
    x = np.array([np.nan, 5, -5, 0], np.float32)
    assert map_f32(BOUND, x, 0, 3, np.empty_like(x)).tolist() == [0, 3, 0, 0]
    assert map_f32(CLIP, x, -1, 3, np.empty_like(x)).tolist() == [3, 3, -1, 0]
    assert map_f32(CLIP, x, 1, -1, np.empty_like(x)).tolist() == [1, 1, 1, 1]


# dims of the output; strides of a; strides of b
BROADCASTS = {
    "same shape": ((1, 1, 20000), (0, 0, 1), (0, 0, 1)),
    "scalar second": ((1, 1, 33), (0, 0, 1), (0, 0, 0)),
    "scalar first": ((1, 1, 33), (0, 0, 0), (0, 0, 1)),
    "one element": ((1, 1, 1), (0, 0, 0), (0, 0, 0)),
    "last axis": ((1, 900, 17), (0, 17, 1), (0, 0, 1)),
    "last axis of each image": ((2, 50, 17), (850, 17, 1), (17, 0, 1)),
    "planes": ((2, 3, 40), (120, 40, 1), (0, 1, 0)),
    "long rows": ((1, 3, 17000), (0, 17000, 1), (0, 1, 0)),
    "both ways": ((5, 4, 33), (33, 0, 1), (4, 1, 0)),
    "columns first": ((5, 4, 33), (4, 1, 0), (33, 0, 1)),
}


@pytest.mark.parametrize("code", [ADD, SUB, MUL, DIV])
@pytest.mark.parametrize("case", BROADCASTS.values(), ids=BROADCASTS.keys())
def test_binary_equals_the_naive_loops(rng, case, code):
    dims, a_strides, b_strides = case
    sizes = [1 + sum((d - 1) * s for d, s in zip(dims, strides, strict=True)) for strides in (a_strides, b_strides)]
    a, b = _random(rng, sizes[0]), _random(rng, sizes[1]) + 3
    out, want = np.empty((2, *dims), np.float32)
    binary_f32(code, a, a_strides, b, b_strides, out)
    binary_f32_naive(code, a, a_strides, b, b_strides, want)
    assert out.tobytes() == want.tobytes()


@pytest.mark.parametrize("code", [AFFINE, PRELU])
@pytest.mark.parametrize("inner", [1, 2, 33, 17000])
@pytest.mark.parametrize("channels", [1, 3, 16, 33, 600])
def test_channel_functions_equal_the_naive_loops(rng, code, channels, inner):
    for outer in (1, 2, 7):
        if outer * channels * inner > 1_000_000:
            continue
        x, k, b = _random(rng, outer, channels, inner), _random(rng, channels), _random(rng, channels)
        out, want = np.empty((2, outer, channels, inner), np.float32)
        channel_f32(code, x, k, b, out)
        channel_f32_naive(code, x, k, b, want)
        assert out.tobytes() == want.tobytes()


def test_the_bits_do_not_depend_on_the_threads(rng):
    x = _random(rng, 5 * eltwise.BLOCK)
    whole = map_f32(SIGMOID, x, 0, 0, np.empty_like(x))
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert map_f32(SIGMOID, x, 0, 0, np.empty_like(x)).tobytes() == whole.tobytes()
        assert map_f32(SIGMOID, x[3:10], 0, 0, np.empty(7, np.float32)).tobytes() == whole[3:10].tobytes()
    finally:
        numba.set_num_threads(threads)
