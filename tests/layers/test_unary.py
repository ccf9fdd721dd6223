"""Functions of one element against the C library's, in double."""

import math

import numpy as np
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer

SPECIAL = np.array([0, -0.0, 1, -1, 0.5, 2.5, -2.5, 88, 89, -104, 1e-6, 1e-20, 3e38, -3e38, 1e30, 16777216], np.float32)
SHAPES = [(7,), (2, 17), (1, 5, 5), (2, 3, 5, 7), (2, 1, 3, 4, 5), (1, 2, 1, 2, 2, 3)]

FUNCTIONS = {
    "Abs": np.abs,
    "Neg": np.negative,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Reciprocal": lambda x: np.divide(1, x, out=np.zeros_like(x), where=x != 0),
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Exp": np.exp,
    "Log": np.log,
    "Erf": np.vectorize(math.erf),
}


def _want(function, x):
    with np.errstate(all="ignore"):
        return function(x.astype(np.float64)).astype(np.float32)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_against_double(rng, run_layer, kind):
    for x in (SPECIAL, *((rng.standard_normal(shape) * 3).astype(np.float32) for shape in SHAPES)):
        np.testing.assert_allclose(run_layer(kind, "", x)[0], _want(FUNCTIONS[kind], x), rtol=2e-7, atol=1e-45)


@pytest.mark.parametrize("kind", [*FUNCTIONS, "Sigmoid", "Elu", "Sin"])
@pytest.mark.parametrize("dtype", [np.int32, np.int8])
def test_integers_pass_unchanged_but_through_neg(run_layer, kind, dtype):
    x = np.array([[-5, 0, 7]], dtype)
    np.testing.assert_array_equal(run_layer(kind, "", x)[0], -x if kind == "Neg" else x)


def test_not_is_for_booleans(run_layer):
    np.testing.assert_array_equal(run_layer("Not", "", np.array([[0, 1, -3, 2]], np.int8))[0], [[1, 0, 0, 0]])
    with pytest.raises(UnsupportedLayerError, match="input 0 is FLOAT; TNN's kernel takes INT8 only"):
        run_layer("Not", "", np.zeros((2, 2), np.float32))


def test_number_of_inputs_is_checked():
    spec = BlobSpec((1, 2), DataType.FLOAT)
    for inputs in ([], [spec, spec]):
        with pytest.raises(GraphError, match=f"has {len(inputs)} input blobs, expected 1"):
            find_layer("Abs").parse([]).resolved(inputs, {})
