"""ArgMaxOrMin and TopK against loops."""

import numpy as np
import pytest

from tnnquant.errors import GraphError, ModelFormatError
from tnnquant.layers.base import BlobSpec, find_layer


def _first_extremum(row, largest):
    best = 0
    for i in range(1, len(row)):
        if row[i] > row[best] if largest else row[i] < row[best]:
            best = i
    return best


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize(
    ("dims", "axis"),
    [((1, 5, 3, 4), 1), ((2, 3, 7), -1), ((4, 9), 0), ((2, 2, 3, 2, 3), 3), ((6,), 0), ((1, 6, 9, 8), 3)],
)
def test_arg_max_or_min(rng, run_layer, dims, axis, mode):
    x = rng.integers(-3, 4, dims).astype(np.float32)  # ties
    x.reshape(-1)[rng.random(x.size) < 0.1] = np.nan
    for value in (x, np.nan_to_num(x).astype(np.int32)):
        wanted = np.apply_along_axis(_first_extremum, axis, value, mode != 0)
        (out,) = run_layer("ArgMaxOrMin", f"{mode} {axis} 0 0", value)
        np.testing.assert_array_equal(out, wanted)
        (out,) = run_layer("ArgMaxOrMin", f"{mode} {axis} 1 1", value)
        np.testing.assert_array_equal(out, np.expand_dims(wanted, axis))


def test_arg_max_needs_its_mode_and_axis():
    with pytest.raises(ModelFormatError, match="'axis' is missing"):
        find_layer("ArgMaxOrMin").parse(["1"])
    layer = find_layer("ArgMaxOrMin").parse(["1", "-1"]).resolved([BlobSpec((2, 3))], {})
    assert layer.tokens() == ["1", "1", "1", "0"]


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize(
    ("dims", "axis", "k"),
    [((1, 9), 1, 3), ((2, 3, 7), -1, 4), ((2, 3, 5), -2, 2), ((2, 6), 1, 9), ((1, 2, 4, 6), 3, 1), ((2, 4, 3, 5), 1, 3),
     ((8,), 0, 8)],
)  # fmt: skip
def test_top_k(rng, run_layer, dims, axis, k, largest, ordered):
    x = rng.integers(-4, 5, dims).astype(np.float32)  # ties: the lower index is better
    order = np.argsort(-x if largest else x, axis=axis, kind="stable").take(range(min(k, dims[axis])), axis)
    order = order if ordered else np.flip(order, axis)
    for value in (x, x.astype(np.int32)):
        values, indices = run_layer("TopK", f"{axis} {largest} {ordered} {k}", value, outputs=2)
        np.testing.assert_array_equal(indices, order)
        np.testing.assert_array_equal(values, np.take_along_axis(value, order, axis))


def test_k_from_an_input(rng, run_layer):
    x = rng.standard_normal((2, 6)).astype(np.float32)
    k = np.array([2], np.int32)
    values, _ = run_layer("TopK", "1 1 1 -1", x, k, constant=(1,), outputs=2)
    np.testing.assert_array_equal(values, -np.sort(-x)[:, :2])
    layer = find_layer("TopK").parse(["1", "1", "1", "5"])
    np.testing.assert_array_equal(layer.forward([x, k], None)[0], values)


def test_extreme_integers(run_layer):
    x = np.array([0, -(2**31), 2**31 - 1], np.int32)
    assert run_layer("TopK", "0 1 1 3", x, outputs=2)[1].tolist() == [2, 0, 1]


def test_what_does_not_fit(run_layer):
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(GraphError, match="k is -1"):
        run_layer("TopK", "", x)
    with pytest.raises(GraphError, match="axis is 2"):
        run_layer("TopK", "2 1 1 1", x)
    with pytest.raises(GraphError, match="k, has 2 elements"):
        run_layer("TopK", "1 1 1 1", x, np.ones(2, np.int32), constant=(1,))
