"""Greater, Less, Equal, Where against TNN's loop: dims aligned on the left, indices on the right."""

import itertools

import numpy as np
import pytest

from tnnquant.errors import GraphError, UnsupportedLayerError

FUNCTIONS = {"Greater": np.greater, "Less": np.less, "Equal": np.equal}
SHAPES = [
    ((1, 3, 4, 5), (1, 3, 4, 5)),
    ((1, 1, 4, 1), (2, 3, 1, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 3, 4)),
    ((5,), (2, 3)),
    ((2, 3), (3, 2)),
    ((1,), (2, 2)),
    ((2, 1, 2, 1, 2), (1, 2, 1, 2, 1)),
]


def _loop(function, dtype, *arrays):
    dims = [max(sizes) for sizes in itertools.zip_longest(*(x.shape for x in arrays), fillvalue=0)]
    out = np.empty(dims, dtype)
    for index in np.ndindex(*dims):
        values = [
            x[tuple(min(i, d - 1) for i, d in zip(index[len(dims) - x.ndim :], x.shape, strict=True))] for x in arrays
        ]
        out[index] = function(*values)
    return out


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int8])
def test_comparisons(rng, run_layer, kind, shapes, dtype):
    a, b = (rng.integers(-2, 3, shape).astype(dtype) for shape in shapes)
    np.testing.assert_array_equal(run_layer(kind, "-1", a, b)[0], _loop(FUNCTIONS[kind], np.int8, a, b))


@pytest.mark.parametrize("kind", ["Greater", "Less"])
@pytest.mark.parametrize("first", [0, 1])
def test_only_the_first_element_of_a_resource_counts(rng, run_layer, kind, first):
    x, element = rng.standard_normal((1, 3, 2, 4)).astype(np.float32), np.array([0.3, 9, -9], np.float32)
    pair = (element[0], x) if first == 0 else (x, element[0])
    got = run_layer(kind, str(first), x, tensors={"element": element})[0]
    np.testing.assert_array_equal(got, FUNCTIONS[kind](*pair))


def test_nan_is_not_equal(run_layer):
    x = np.array([np.nan, 1], np.float32)
    assert run_layer("Equal", "", x, x)[0].tolist() == [0, 1]


def test_comparisons_that_do_not_fit(run_layer):
    x = np.zeros((2, 2), np.float32)
    with pytest.raises(UnsupportedLayerError, match="input 0 is FLOAT, input 1 is INT32"):
        run_layer("Less", "-1", x, x.astype(np.int32))
    with pytest.raises(GraphError, match="has 3 input blobs, expected 2"):
        run_layer("Equal", "", x, x, x)
    with pytest.raises(GraphError, match="no operand in the"):
        run_layer("Greater", "1", x)
    with pytest.raises(GraphError, match="weight_input_index is -1"):
        run_layer("Greater", "-1", x, tensors={"element": np.ones(1, np.float32)})


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize(
    "shapes",
    [
        ((1, 3, 4, 5), (1, 1, 1, 1), (1, 3, 4, 5)),
        ((2, 3, 1), (2, 1, 4), (2, 3, 4)),
        ((2, 5), (5,), (2, 5)),
        ((3,), (3,), (2, 3)),
    ],
    ids=str,
)
def test_where(rng, run_layer, dtype, shapes):
    x, y = (rng.integers(-9, 9, shape).astype(dtype) for shape in shapes[:2])
    condition = rng.integers(-1, 2, shapes[2]).astype(np.int8)
    want = _loop(lambda a, b, c: a if c else b, dtype, x, y, condition)
    np.testing.assert_array_equal(run_layer("Where", "", x, y, condition)[0], want)


def test_where_that_does_not_fit(run_layer):
    x = np.zeros((2, 2), np.float32)
    with pytest.raises(GraphError, match="the condition is FLOAT, expected INT8"):
        run_layer("Where", "", x, x, x)
    with pytest.raises(UnsupportedLayerError, match="input 0 is INT8; TNN's kernel takes FLOAT or INT32 only"):
        run_layer("Where", "", *[x.astype(np.int8)] * 3)
