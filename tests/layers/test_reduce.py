"""Reductions, one axis after another in ascending order."""

import itertools

import numpy as np
import pytest

from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer

f64 = np.float64
FUNCTIONS = {
    "ReduceSum": lambda x, axes: x.sum(axes, keepdims=True),
    "ReduceMean": lambda x, axes: x.mean(axes, keepdims=True),
    "ReduceMax": lambda x, axes: x.max(axes, keepdims=True),
    "ReduceMin": lambda x, axes: x.min(axes, keepdims=True),
    "ReduceProd": lambda x, axes: x.prod(axes, keepdims=True),
    "ReduceL1": lambda x, axes: np.abs(x).sum(axes, keepdims=True),
    "ReduceL2": lambda x, axes: np.sqrt((x * x).sum(axes, keepdims=True)),
    "ReduceLogSum": lambda x, axes: np.log(x.sum(axes, keepdims=True)),
    "ReduceLogSumExp": lambda x, axes: np.log(np.exp(x).sum(axes, keepdims=True)),
    "ReduceSumSquare": lambda x, axes: (x * x).sum(axes, keepdims=True),
}
SHAPES = [(), (7,), (2, 17), (3, 4, 5), (2, 5, 3, 4), (2, 2, 3, 2, 2), (1, 2, 1, 3, 2, 2)]


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_axes_and_both_forms(rng, run_layer, kind, shape):
    x = (rng.random(shape) + 0.5).astype(np.float32)
    rank = len(shape)
    for axes in itertools.chain.from_iterable(itertools.combinations(range(rank), n) for n in range(rank + 1)):
        want = FUNCTIONS[kind](x.astype(f64), axes or tuple(range(rank)))
        kept = run_layer(kind, " ".join(map(str, (1, *axes))), x)[0]
        np.testing.assert_allclose(kept, want, rtol=2e-6, err_msg=str(axes))
        dropped = run_layer(kind, " ".join(map(str, (0, *(a - rank for a in axes)))), x)[0]
        np.testing.assert_array_equal(dropped, kept.squeeze(axes or tuple(range(rank))))


def test_order_of_the_sums(rng, run_layer):
    """TNN's bits: along H first, then along W, in float32."""
    x = (rng.standard_normal((2, 3, 40, 50)) * 100).astype(np.float32)
    total = np.zeros((2, 3, 50), np.float32)
    for h in range(40):
        total += x[:, :, h]
    want = np.zeros((2, 3), np.float32)
    for w in range(50):
        want += total[:, :, w]
    for line in ("0 2 3", "0 3 2", "0 -1 -2 3"):
        np.testing.assert_array_equal(run_layer("ReduceSum", line, x)[0], want)


INTEGERS = {
    "ReduceSum": [[[5], [-9]], [[-14], [3]]],
    "ReduceMean": [[[1], [-3]], [[-4], [1]]],
    "ReduceMax": [[[7], [0]], [[-1], [2]]],
    "ReduceMin": [[[-3], [-8]], [[-8], [0]]],
    "ReduceProd": [[[-21], [0]], [[-40], [0]]],
    "ReduceL1": [[[11], [9]], [[14], [3]]],
    "ReduceL2": [[[7], [8]], [[9], [2]]],
    "ReduceSumSquare": [[[59], [65]], [[90], [5]]],
    "ReduceLogSum": [[[1], [-(2**31)]], [[-(2**31)], [1]]],  # log(5), of a negative, log(3)
    "ReduceLogSumExp": [[[7], [0]], [[-1], [2]]],  # the sum is cut to 1, how often the largest occurs
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_integers(run_layer, kind):
    x = np.array([[[-3, 7, 1], [0, -8, -1]], [[-8, -5, -1], [2, 0, 1]]], np.int32)
    np.testing.assert_array_equal(run_layer(kind, "1 2", x)[0], INTEGERS[kind])
    with pytest.raises(UnsupportedLayerError, match="input 0 is INT8"):
        run_layer(kind, "1 2", x.astype(np.int8))


def test_mean_of_integers_divides_axis_by_axis(run_layer):
    x = np.array([[-7, 2], [4, 1]], np.int32)
    assert run_layer("ReduceMean", "0 0 1", x)[0] == 0  # (-3 / 2 = -1, 3 / 2 = 1), 0 / 2
    assert run_layer("ReduceMean", "0 0", x)[0].tolist() == [-1, 1]


def test_logarithm_of_integers_that_occur_twice(run_layer):
    x = np.array([[-3, -3, -4], [8, 8, 8]], np.int32)
    assert run_layer("ReduceLogSumExp", "0 1", x)[0].tolist() == [-2, 9]  # -3 + log(2), 8 + log(3), towards zero
    assert run_layer("ReduceLogSum", "0 1", np.array([[0, 0]], np.int32))[0].tolist() == [-(2**31)]


def test_extremes(run_layer):
    x = np.array([[np.nan, -np.inf, 1], [-np.inf] * 3], np.float32)
    low = np.finfo(np.float32).min
    assert run_layer("ReduceMax", "0 1", x)[0].tolist() == [1, low]
    assert run_layer("ReduceMin", "0 1", x)[0].tolist() == [-np.inf, -np.inf]
    big = np.array([[1000, 1001], [-np.inf, -np.inf]], np.float32)
    np.testing.assert_allclose(run_layer("ReduceLogSumExp", "0 1", big)[0], [1001.3133, -np.inf], rtol=1e-6)


def test_axes_are_stored_positive_and_complete():
    specs = [BlobSpec((2, 3, 4, 5))]
    for line, tokens in (("1 -1 0", "1 3 0"), ("0", "0 0 1 2 3")):
        layer = find_layer("ReduceMean").parse(line.split()).resolved(specs, {})
        assert layer.tokens() == tokens.split()
        assert layer.resolved(specs, {}) == layer
    with pytest.raises(GraphError, match="axis is 4, the blob has 4 dims"):
        find_layer("ReduceMean").parse(["1", "4"]).resolved(specs, {})


@pytest.mark.parametrize(("kind", "want"), [("ReduceSum", 0), ("ReduceMax", -(2**31)), ("ReduceProd", 1)])
def test_nothing_to_reduce(run_layer, kind, want):
    assert run_layer(kind, "0 0", np.zeros((0, 2), np.int32))[0].tolist() == [want, want]
    assert run_layer("ReduceLogSumExp", "0 0", np.zeros((0, 2), np.float32))[0].tolist() == [-np.inf, -np.inf]
