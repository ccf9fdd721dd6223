"""Element-wise kernels against their naive twins."""

import numba
import numpy as np
import pytest

from tnnquant.kernels import eltwise, program
from tnnquant.kernels.eltwise import (
    ADD,
    BOUND,
    CLIP,
    DIV,
    MUL,
    SIGMOID,
    SUB,
    binary_f32_naive,
    binary_f32_op,
    map_f32_naive,
    map_f32_op,
)
from tnnquant.kernels.loops import BLOCK

SIZES = (1, 7, 8, 9, 31, 33, 1000, BLOCK, BLOCK + 1, 3 * BLOCK - 5)
EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, 6.0, 6.0001, 88.7, 88.8, -88.7, -103.9, -104.1, 1e-20, -1e30, 3e38, np.inf, -np.inf, np.nan],
    np.float32,
)


def _random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def _mapped(code, x, a=0.0, b=0.0, out=None):
    out = np.empty_like(x) if out is None else out
    program.run(map_f32_op(code, x, a, b, out))
    return out


FUNCTIONS = (
    "BOUND", "CLIP", "GATE", "HARD_SWISH", "HARD_SIGMOID", "SIGMOID", "SWISH", "ELU", "SELU", "EXP", "LOG",
    "LOG_SIGMOID", "SOFTPLUS", "ERF", "GELU", "FAST_ERF", "FAST_GELU",
)  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_equal_the_naive_loops(rng, function):
    code = getattr(eltwise, function)
    for size in SIZES:
        x = (_random(rng, size) * 20).astype(np.float32)
        x[: EDGES.size] = EDGES[:size]
        out, want = np.full((2, size + 1), 7, np.float32)
        _mapped(code, x, 0.2, 0.5, out[:size])
        map_f32_naive(code, x, np.float32(0.2), np.float32(0.5), want[:size])
        assert out[size] == 7
        if function in ("ELU", "SELU"):  # a difference of numbers near 1
            np.testing.assert_allclose(out, want, rtol=1e-6, atol=2e-8)
        elif function == "FAST_GELU":  # 1 + erf below 0 too
            np.testing.assert_allclose(out, want, rtol=1e-6, atol=5e-7)
        else:
            np.testing.assert_allclose(out, want, rtol=1e-6, atol=1e-37)


def test_functions_of_views(rng):
    wide = _random(rng, 2, 5, 3, 40)
    images = wide[..., 7:30].transpose(0, 3, 1, 2)
    out = np.full((2, 5, 3, 50), 7, np.float32)
    _mapped(SIGMOID, images, out=out[..., 2:25].transpose(0, 3, 1, 2))
    assert out[..., 2:25].tobytes() == _mapped(SIGMOID, np.ascontiguousarray(wide[..., 7:30])).tobytes()
    assert (out[..., :2] == 7).all()
    assert (out[..., 25:] == 7).all()
    assert map_f32_op(SIGMOID, images, 0, 0, np.empty(images.shape, np.float32)) is None


def test_bound_and_clip_of_nan_and_of_crossed_bounds():
    x = np.array([np.nan, 5, -5, 0], np.float32)
    assert _mapped(BOUND, x, 0, 3).tolist() == [0, 3, 0, 0]
    assert _mapped(CLIP, x, -1, 3).tolist() == [3, 3, -1, 0]
    assert _mapped(CLIP, x, 1, -1).tolist() == [1, 1, 1, 1]


BROADCASTS = {
    "same shape": ((1, 3, 90, 80), (1, 3, 90, 80)),
    "scalar second": ((2, 3, 4), (1,)),
    "scalar first": ((1, 1, 1), (2, 3, 4)),
    "one element": ((1,), (1, 1)),
    "last axis": ((30, 900, 17), (17,)),
    "last axis of each image": ((2, 50, 17), (2, 1, 17)),
    "planes": ((2, 3, 8, 5), (3, 1, 1)),
    "long rows": ((3, 17000), (3, 1)),
    "both ways": ((5, 1, 33), (5, 4, 1)),
    "scalar per image first": ((2, 1, 1, 1), (2, 3, 4, 5)),
}


@pytest.mark.parametrize("code", [ADD, SUB, MUL, DIV])
@pytest.mark.parametrize("shapes", BROADCASTS.values(), ids=BROADCASTS.keys())
def test_binary_equals_the_naive_loops(rng, shapes, code):
    a, b = _random(rng, *shapes[0]), _random(rng, *shapes[1]) + 3
    shape = np.broadcast_shapes(*shapes)
    out, want = np.empty((2, *shape), np.float32)
    program.run(binary_f32_op(code, a, b, out))
    three = (1,) * (3 - len(shape)) + shape if len(shape) < 3 else (-1, *shape[-2:])
    binary_f32_naive(code, *(np.broadcast_to(x, shape).reshape(three) for x in (a, b)), want.reshape(three))
    assert out.tobytes() == want.tobytes()


def test_binary_of_views_keeps_their_neighbours(rng):
    a = _random(rng, 2, 4, 3, 20)[..., 1:18].transpose(0, 3, 1, 2)
    gate = _random(rng, 2, 1, 1, 17).transpose(0, 3, 1, 2)
    wide = np.full((2, 4, 3, 30), 7, np.float32)
    program.run(binary_f32_op(MUL, a, gate, wide[..., 3:20].transpose(0, 3, 1, 2)))
    np.testing.assert_array_equal(wide[..., 3:20].transpose(0, 3, 1, 2), a * gate)
    assert (wide[..., :3] == 7).all()
    assert (wide[..., 20:] == 7).all()


def test_empty_arrays_have_no_op():
    assert map_f32_op(BOUND, np.empty((0, 3), np.float32), 0, 1, np.empty((0, 3), np.float32)) is None


def test_loops_that_do_not_fit_are_refused(rng):
    a, out = _random(rng, 3, 1, 3, 1, 3), np.empty((3, 3, 3, 3, 3), np.float32)
    assert binary_f32_op(ADD, a, _random(rng, 3, 1, 3, 1), out) is None


def test_the_bits_do_not_depend_on_the_threads(rng):
    x = _random(rng, 5 * BLOCK)
    whole = _mapped(SIGMOID, x)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert _mapped(SIGMOID, x).tobytes() == whole.tobytes()
        assert _mapped(SIGMOID, x[3:10]).tobytes() == whole[3:10].tobytes()
    finally:
        numba.set_num_threads(threads)
