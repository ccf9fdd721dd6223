"""ReLU, ReLU6, Clip."""

import numpy as np
import pytest

from tnnquant.errors import UnsupportedLayerError
from tnnquant.layers.base import QuantRole, find_layer

SHAPES = [(7,), (2, 17), (1, 5, 5), (2, 3, 5, 7), (2, 1, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_bounds(rng, run_layer, shape):
    x = (rng.standard_normal(shape) * 5).astype(np.float32)
    np.testing.assert_array_equal(run_layer("ReLU", "", x)[0], np.maximum(x, 0))
    np.testing.assert_array_equal(run_layer("Relu", "", x)[0], np.maximum(x, 0))
    np.testing.assert_array_equal(run_layer("ReLU6", "", x)[0], np.clip(x, 0, 6))
    np.testing.assert_array_equal(run_layer("Clip", "-1.5 2", x)[0], np.clip(x, -1.5, 2))
    np.testing.assert_array_equal(run_layer("Clip", "-3.40282e+38 2", x)[0], np.minimum(x, 2))


def test_nan_and_infinity(run_layer):
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert run_layer("ReLU", "", x)[0].tolist() == [0, np.inf, 0]
    assert run_layer("ReLU6", "", x)[0].tolist() == [0, 6, 0]
    assert run_layer("Clip", "-1 1", x)[0].tolist() == [1, 1, -1]


def test_crossed_and_absent_bounds(run_layer):
    x = np.array([-3, 0, 3], np.float32)
    assert run_layer("Clip", "1 -1", x)[0].tolist() == [1, 1, 1]
    assert run_layer("Clip", "", x)[0].tolist() == [0, 0, 0]
    assert run_layer("Clip", "-2", x)[0].tolist() == [-2, 0, 0]


def test_integers(run_layer):
    x = np.array([[-128, -1, 0, 5, 7, 127]], np.int8)
    assert run_layer("ReLU", "", x)[0].tolist() == [[0, 0, 0, 5, 7, 127]]
    assert run_layer("ReLU6", "", x)[0].tolist() == [[0, 0, 0, 5, 6, 6]]
    with pytest.raises(UnsupportedLayerError, match="INT32; TNN's kernel takes FLOAT only"):
        run_layer("Clip", "0 1", x.astype(np.int32))


def test_roles():
    relu = find_layer("QuantizedReLU")()
    assert relu.role == QuantRole.PASS
    assert not relu.KEEPS_ZERO_POINT
    assert find_layer("ReLU6")().role == QuantRole.NONE
