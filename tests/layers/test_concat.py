"""Concat against NumPy, over ranks, axes, types and memory layouts."""

import numpy as np
import pytest

from tnnquant.errors import GraphError


@pytest.mark.parametrize("rank", range(1, 7))
def test_every_axis(rng, run_layer, rank):
    for axis in range(-rank, rank):
        parts = []
        for size in (3, 1, 4):
            dims = [2, 3, 4, 2, 2, 3][:rank]
            dims[axis] = size
            parts.append(rng.standard_normal(dims).astype(np.float32))
        (out,) = run_layer("Concat", str(axis), *parts)
        np.testing.assert_array_equal(out, np.concatenate(parts, axis))


@pytest.mark.parametrize("dtype", [np.int32, np.int8])
def test_integers(rng, run_layer, dtype):
    parts = [rng.integers(-100, 100, (2, c, 3, 3)).astype(dtype) for c in (2, 5)]
    np.testing.assert_array_equal(run_layer("Concat", "1", *parts)[0], np.concatenate(parts, 1))


def test_large_channels_last_blobs_stay_channels_last(rng):
    from tnnquant.layers.base import find_layer

    parts = [rng.standard_normal((1, 40, 40, c)).astype(np.float32).transpose(0, 3, 1, 2) for c in (16, 3, 33)]
    (out,) = find_layer("Concat").parse(["1"]).forward(parts, np.dtype("f4"))
    np.testing.assert_array_equal(out, np.concatenate(parts, 1))
    assert out.transpose(0, 2, 3, 1).flags.c_contiguous


def test_default_axis_and_one_input(rng, run_layer):
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(run_layer("Concat", "", x, x)[0], np.concatenate([x, x], 1))
    np.testing.assert_array_equal(run_layer("Concat", "1", x)[0], x)


def test_empty_inputs_are_left_out(rng, run_layer):
    x = rng.standard_normal((2, 3)).astype(np.float32)
    empty = np.zeros((0, 7), np.float32)
    np.testing.assert_array_equal(run_layer("Concat", "1", empty, x, x)[0], np.concatenate([x, x], 1))


def test_the_type_is_that_of_the_first_input_that_is_no_constant(run_layer):
    wide, narrow = np.array([2], np.int64), np.array([3, 4], np.int32)
    (out,) = run_layer("Concat", "0", wide, narrow, constant=(0,))
    assert out.dtype == np.int32
    assert out.tolist() == [2, 3, 4]


def test_negative_axes_are_stored_positive():
    from tnnquant.layers.base import BlobSpec, find_layer

    layer = find_layer("Concat").parse(["-1"]).resolved([BlobSpec((1, 2, 3))] * 2, {})
    assert layer.tokens() == ["2"]


def test_what_does_not_fit(run_layer):
    x = np.zeros((1, 2, 3), np.float32)
    with pytest.raises(GraphError, match="joins 1x2x3 and 1x2x4"):
        run_layer("Concat", "1", x, np.zeros((1, 2, 4), np.float32))
    with pytest.raises(GraphError, match="joins 1x2x3 and 2x3"):
        run_layer("Concat", "0", x, np.zeros((2, 3), np.float32))
    with pytest.raises(GraphError, match="axis is 3"):
        run_layer("Concat", "3", x, x)
    with pytest.raises(GraphError, match="different data types: FLOAT, INT32"):
        run_layer("Concat", "1", x, x.astype(np.int32))
    with pytest.raises(GraphError, match="has 0 inputs"):
        run_layer("Concat", "1")
