"""Stored tensors: widening of the short float types."""

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import ModelFormatError


def test_half_widens_exactly():
    half = Tensor(np.array([1.5, -65504, 6e-8], np.float16), (), DataType.HALF)
    np.testing.assert_array_equal(half.float32(), np.array([1.5, -65504, 6e-8], np.float16).astype(np.float32))


def test_bfp16_holds_the_upper_half_of_a_float32():
    bits = np.array([0x3F80, 0xC0A0], np.uint16)
    np.testing.assert_array_equal(Tensor(bits, (), DataType.BFP16).float32(), [1.0, -5.0])


def test_int8_is_not_a_float_tensor():
    with pytest.raises(ModelFormatError, match="INT8 stands where FLOAT or HALF is expected"):
        Tensor(np.zeros(3, np.int8), (), DataType.INT8).float32()


def test_dims_are_applied_only_when_they_fit():
    data = np.arange(6, dtype=np.int32)
    assert Tensor(data, (2, 3), DataType.INT32).array().shape == (2, 3)
    assert Tensor(data, (), DataType.INT32).array().shape == (6,)
    assert Tensor(data, (4,), DataType.INT32).array().shape == (6,)
