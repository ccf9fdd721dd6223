"""Cast and BitShift."""

import numpy as np
import pytest

from tnnquant.errors import GraphError, UnsupportedLayerError


def test_floats_are_cut_off(run_layer):
    x = np.array([[0.5, -0.5, 2.999, -2.999, 1e9, -1e9, 3e9, np.nan, -np.inf]], np.float32)
    low = -(2**31)
    assert run_layer("Cast", "3", x)[0].tolist() == [[0, 0, 2, -2, 10**9, -(10**9), low, low, low]]
    assert run_layer("Cast", "2", np.array([1.9, -1.9, 300.7, np.nan], np.float32))[0].tolist() == [1, -1, 44, 0]


def test_integers(run_layer):
    x = np.array([1, -1, 127, 128, 300, -(2**31)], np.int32)
    assert run_layer("Cast", "2", x)[0].tolist() == [1, -1, 127, -128, 44, 0]
    np.testing.assert_array_equal(run_layer("Cast", "0", x)[0], x.astype(np.float32))
    np.testing.assert_array_equal(run_layer("Cast", "3", x.astype(np.int8))[0], x.astype(np.int8))
    np.testing.assert_array_equal(run_layer("Cast", "3", x)[0], x)


@pytest.mark.parametrize("to", [1, 5, 6, 99, -1])
def test_other_types_are_refused(run_layer, to):
    with pytest.raises(UnsupportedLayerError, match=f"casts FLOAT to data type {to}; TNN's kernel knows 0 "):
        run_layer("Cast", str(to), np.zeros((2, 2), np.float32))


def test_shift_is_unsigned(run_layer):
    x = np.array([83, -96, -1, 2**30], np.int32)
    assert run_layer("BitShift", "0 1", x)[0].tolist() == [41, 2147483600, 2147483647, 2**29]
    assert run_layer("BitShift", "1 3", x)[0].tolist() == [664, -768, -8, 0]
    assert run_layer("BitShift", "", x)[0].tolist() == x.tolist()


def test_shifts_that_are_none(run_layer):
    with pytest.raises(GraphError, match="shifts by 32 bits, expected 0 to 31"):
        run_layer("BitShift", "0 32", np.zeros(3, np.int32))
    with pytest.raises(UnsupportedLayerError, match="FLOAT; TNN's kernel takes INT32 only"):
        run_layer("BitShift", "0 1", np.zeros(3, np.float32))
