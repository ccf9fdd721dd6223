"""Activations against their formulas, step by step in the precision TNN uses."""

import math

import numpy as np
import pytest

from tnnquant.errors import UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer

SPECIAL = np.array(
    "0 -0.0 1 -1 0.5 -2.5 6 10 -10 20 -20 50 -50 80 -80 88 89 -88 -89 -104 1e-6 -1e-6 1e-20 3e38 -3e38 1e30 -1e30 inf "
    "-inf nan".split(),
    np.float32,
)
SHAPES = [(7,), (2, 17), (1, 5, 5), (2, 3, 5, 7), (2, 1, 3, 4, 5)]
f32 = np.float32


def _rounded(function, x):
    return function(x.astype(np.float64)).astype(np.float32)


def _log_sigmoid(x):
    return _rounded(np.log, f32(1) / (f32(1) + _rounded(np.exp, -x)))


def _softplus(x):
    return _rounded(np.log, _rounded(np.exp, x) + f32(1))


def _gelu(x):
    half, argument = f32(0.5) * x, x * f32(0.707106793288165)
    return (half.astype(np.float64) * (np.vectorize(math.erf)(argument.astype(np.float64)) + 1)).astype(np.float32)


def _hard_sigmoid(alpha, beta):
    a, b = f32(alpha), f32(beta)
    return lambda x: np.where(x <= -b / a, f32(0), np.where(x < (f32(1) - b) / a, x * a + b, f32(1)))


def _selu(alpha, gamma):
    a, g = f32(alpha), f32(gamma)
    return lambda x: np.where(x <= 0, g * (a * _rounded(np.exp, x) - a), g * x)


CASES = {
    "Sigmoid": ("", lambda x: _rounded(lambda v: 1 / (1 + np.exp(-v)), x)),
    "Tanh": ("", lambda x: _rounded(np.tanh, x)),
    "Swish": ("", lambda x: _rounded(lambda v: v / (1 + np.exp(-v)), x)),
    "LogSigmoid": ("", _log_sigmoid),
    "Softplus": ("", _softplus),
    "GELU": ("", _gelu),
    "Elu": ("0.3", lambda x: np.where(x < 0, f32(0.3) * (_rounded(np.exp, x) - f32(1)), x)),
    "Selu": ("1.5 0.7", _selu(1.5, 0.7)),
    "HardSigmoid": ("0.2 0.5", _hard_sigmoid(0.2, 0.5)),
}


@pytest.mark.parametrize("kind", CASES)
def test_against_the_formula(rng, run_layer, kind):
    line, function = CASES[kind]
    for shape in SHAPES:
        x = (rng.standard_normal(shape) * 4).astype(np.float32)
        with np.errstate(all="ignore"):
            want = function(x)
        np.testing.assert_allclose(run_layer(kind, line, x)[0], want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", CASES)
def test_special_values_one_by_one(run_layer, kind):
    line, function = CASES[kind]
    with np.errstate(all="ignore"):
        got, want = run_layer(kind, line, SPECIAL)[0], function(SPECIAL)
    if kind == "Swish":  # in float32 the product of 0 and -inf, where double still has something left
        np.testing.assert_array_equal(np.isnan(got), np.isnan(SPECIAL) | (-np.inf == SPECIAL))
        got, want = (np.nan_to_num(v, nan=0) for v in (got, want))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-30)


def test_defaults(run_layer):
    x = np.array([-2, -0.5, 0, 0.25, 3], np.float32)
    np.testing.assert_allclose(run_layer("Elu", "", x)[0], np.where(x < 0, np.exp(x) - 1, x), rtol=1e-6)
    np.testing.assert_allclose(run_layer("Selu", "", x)[0][-1], 3.152103, rtol=1e-6)
    np.testing.assert_array_equal(run_layer("HardSigmoid", "", x)[0], [0, 0, 0, 0.25, 1])


def test_softsign_is_refused_by_name():
    kind = find_layer("Softsign")
    assert not kind.runnable()
    assert kind().output_specs([BlobSpec((1, 2))], {})[0].dims == (1, 2)
    with pytest.raises(UnsupportedLayerError, match=r"Softsign cannot be run: .*build it of Abs, Add and Div"):
        kind().forward([], None)
