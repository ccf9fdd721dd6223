"""The fp32 arithmetic of TNN's ARM device: its sigmoids, and which layers they stand in for."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.layers.activation import Sigmoid, Swish
from tnnquant.layers.binary import Add
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.device_f32 import as_on_device, fast_sigmoid, sigmoid


def test_the_fast_sigmoid_is_the_power_of_256():
    x = np.linspace(-20, 20, 4001, dtype=np.float32)
    wanted = 1 / (1 + (1 - x.astype(np.float64) / 256) ** 256)
    assert np.allclose(fast_sigmoid(x), wanted, rtol=1e-4, atol=0)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    at = np.searchsorted(x, -8)
    assert 0.11 < fast_sigmoid(x)[at] / exact[at] - 1 < 0.14, "12 % at -8"


def test_the_sigmoid_of_high_precision():
    x = np.linspace(-20, 20, 4001, dtype=np.float32)
    assert np.allclose(sigmoid(x), 1 / (1 + np.exp(-x.astype(np.float64))), rtol=2e-5, atol=0)


@pytest.mark.parametrize("function", [fast_sigmoid, sigmoid])
def test_ends_of_the_sigmoids(function):
    low, high, none = function(np.array([-1e4, 1e4, np.nan], np.float32))
    assert low == 0
    assert high == pytest.approx(1, abs=2e-5)
    assert np.isnan(none)


@pytest.mark.parametrize("high", [False, True])
def test_what_is_replaced(high):
    kinds = {"quantized": False, "inputs": 1, "high": high}
    assert isinstance(as_on_device(Sigmoid(), {}, "arm", **kinds), Sigmoid)
    assert type(as_on_device(Sigmoid(), {}, "arm", **kinds)) is not Sigmoid
    assert isinstance(as_on_device(Swish(), {}, "arm", **kinds), Swish)
    assert type(as_on_device(Convolution(activation_type=256), {}, "arm", **kinds)) is not Convolution
    for same, quantized, inputs in ((Convolution(), False, 1), (Add(), False, 2), (Add(), True, 3)):
        assert as_on_device(same, {}, "arm", quantized=quantized, inputs=inputs, high=high) is same
    sigmoid_layer = Sigmoid()
    assert as_on_device(sigmoid_layer, {}, "x86", **kinds) is sigmoid_layer
