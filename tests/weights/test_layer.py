"""int8 weights and biases of a layer: which scale a weight absorbs, and biases that TNN loses."""

import warnings

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.weights import quantize_layer
from tnnquant.weights.base import REGISTRY
from tnnquant.weights.layer import BIAS_LIMIT, fit_scale_to_bias, fold_input_scale, quantize_bias

METHODS = ("minmax", "admm", "asymmetric")
MERGES = ("channel", "mix", "tensor")


def _random(rng, *shape):
    return (rng.standard_normal(shape) * 0.1).astype(np.float32)


def _scales(rng, count):
    return rng.uniform(0.001, 0.1, count).astype(np.float32)


def _quantize(weight, bias, scale, method="minmax", merge="channel", groups=1):
    return quantize_layer(weight, bias, scale, method=method, merge_type=merge, groups=groups)


def _per_channel(values, like):
    return np.asarray(values).reshape(-1, *[1] * (like.ndim - 1))


def _products(result):
    """The real weights times input scales that the stored weights stand for."""
    codes = result.weight.astype(np.float64)
    return (codes - _per_channel(result.zero_point, codes)) * _per_channel(result.scale.astype(np.float64), codes)


def _round(x):
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


# --- which scale a weight absorbs ---


def test_input_scales_are_folded_by_the_channel_a_weight_reads(rng):
    weight, scale = _random(rng, 6, 4, 3, 3), _scales(rng, 4)
    want = weight.copy()
    for c in range(4):
        want[:, c] *= scale[c]
    np.testing.assert_array_equal(fold_input_scale(weight, scale, 1), want)
    np.testing.assert_array_equal(fold_input_scale(weight, scale[:1], 1), weight * scale[0])


def test_input_scales_of_groups(rng):
    weight, scale = _random(rng, 6, 2, 3, 3), _scales(rng, 6)
    want = weight.copy()
    for o in range(6):
        for c in range(2):
            want[o, c] *= scale[o // 2 * 2 + c]
    np.testing.assert_array_equal(fold_input_scale(weight, scale, 3), want)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution(rng, method, merge, groups):
    weight, scale = _random(rng, 6, 4 // groups, 3, 3), _scales(rng, 4 if merge == "channel" else 1)
    result = _quantize(weight, None, scale, method, merge, groups)
    products = fold_input_scale(weight, scale, groups)
    codes, scales, zero_points = REGISTRY.find(method)(products.reshape(1 if merge == "tensor" else 6, -1))
    np.testing.assert_array_equal(result.weight, codes.reshape(weight.shape))
    np.testing.assert_array_equal(result.scale, scales)
    np.testing.assert_array_equal(result.zero_point, zero_points)
    assert result.weight.dtype == result.zero_point.dtype == np.int8
    assert result.scale.dtype == np.float32
    assert result.bias is None
    assert result.note == ""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_depthwise_weights_do_not_absorb_the_scale(rng, method, per_channel):
    weight, scale = _random(rng, 8, 1, 3, 3), _scales(rng, 8 if per_channel else 1)
    result = _quantize(weight, None, scale, method, "channel", 8)
    codes, scales, zero_points = REGISTRY.find(method)(weight.reshape(8, 9))
    np.testing.assert_array_equal(result.weight, codes.reshape(weight.shape))
    np.testing.assert_array_equal(result.scale, scales * scale)
    np.testing.assert_array_equal(result.zero_point, zero_points)


def test_a_channel_multiplier_is_not_depthwise(rng):
    weight, scale = _random(rng, 8, 1, 3, 3), _scales(rng, 4)
    result = _quantize(weight, None, scale, groups=4)
    want = REGISTRY.find("minmax")((weight * np.repeat(scale, 2).reshape(8, 1, 1, 1)).reshape(8, 9))
    np.testing.assert_array_equal(result.weight.reshape(8, 9), want[0])
    np.testing.assert_array_equal(result.scale, want[1])


@pytest.mark.parametrize("method", METHODS)
def test_one_scale_a_layer(rng, method):
    scale = _scales(rng, 1)
    for weight, groups in ((_random(rng, 6, 4, 1, 1), 1), (_random(rng, 6, 1, 3, 3), 6), (_random(rng, 6, 20), 1)):
        bias = _random(rng, 6)
        result = _quantize(weight, bias, scale, method, "tensor", groups)
        assert result.scale.shape == result.zero_point.shape == (1,)
        np.testing.assert_array_equal(result.bias, _round(bias.astype(np.float64) / result.scale.astype(np.float64)))
        assert (result.bias != 0).all()


@pytest.mark.parametrize("merge", MERGES)
def test_minmax_weights_come_back_within_half_a_step(rng, merge):
    per_channel = merge == "channel"
    for weight, groups, channels in (
        (_random(rng, 6, 4, 3, 3), 1, 4),
        (_random(rng, 6, 2, 3, 3), 2, 4),
        (_random(rng, 8, 1, 3, 3), 8, 8),
        (_random(rng, 6, 30), 1, 1),
    ):
        scale = _scales(rng, channels if per_channel else 1)
        result = _quantize(weight, _random(rng, len(weight)), scale, "minmax", merge, groups)
        products = fold_input_scale(weight, scale, groups).astype(np.float64)
        assert (np.abs(_products(result) - products) <= 0.50001 * _per_channel(result.scale, weight)).all()


# --- biases ---


def test_bias_is_rounded_half_away_from_zero():
    scale = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 2, 0], np.float32)
    bias = np.array([0.25, -0.25, 0.75, -0.75, 0.2, -7, 3], np.float32)
    steps = quantize_bias(bias, scale)
    assert steps.dtype == np.int32
    assert steps.tolist() == [1, -1, 2, -2, 0, -4, 0]
    assert quantize_bias(bias, np.array([0.5], np.float32)).tolist() == [1, -1, 2, -2, 0, -14, 6]


@pytest.mark.parametrize("method", METHODS)
def test_bias_is_within_half_a_step(rng, method):
    weight, bias = _random(rng, 6, 4, 3, 3), _random(rng, 6)
    result = _quantize(weight, bias, _scales(rng, 4), method)
    assert result.note == ""
    assert (np.abs(result.bias * result.scale.astype(np.float64) - bias) <= 0.50001 * result.scale).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_bias_beyond_int32_raises_the_scale(rng, method, depthwise):
    weight = _random(rng, 8, 1, 3, 3) if depthwise else _random(rng, 8, 4, 3, 3)
    weight[3] *= np.float32(1e-4)
    scale = _scales(rng, 8 if depthwise else 4)
    scale[3 if depthwise else slice(None)] *= np.float32(1e-3)
    groups = 8 if depthwise else 1
    bias = _random(rng, 8)
    plain = _quantize(weight, bias, scale, method, "channel", groups)
    bias[3] = -plain.scale[3] * 2.0**33
    result = _quantize(weight, bias, scale, method, "channel", groups)
    assert "scale of 1 channels raised" in result.note
    np.testing.assert_allclose(result.scale[3], plain.scale[3] * 8, rtol=1e-6)
    assert abs(int(result.bias[3])) == BIAS_LIMIT
    np.testing.assert_allclose(result.bias[3] * np.float64(result.scale[3]), bias[3], rtol=1e-6)
    products = weight * scale.reshape(-1, 1, 1, 1) if depthwise else fold_input_scale(weight, scale, 1)
    error = np.abs(_products(result) - products)[3]
    assert (error <= 0.5001 * result.scale[3]).all()
    others = np.arange(8) != 3
    np.testing.assert_array_equal(result.weight[others], plain.weight[others])
    np.testing.assert_array_equal(result.scale[others], plain.scale[others])
    np.testing.assert_array_equal(result.bias[others], plain.bias[others])


def test_a_bias_beyond_int32_raises_the_one_scale_of_a_layer(rng):
    weight, scale = _random(rng, 4, 3, 1, 1), np.array([1e-6], np.float32)
    plain = _quantize(weight, None, scale, "minmax", "tensor")
    bias = np.array([0, 1e-3, plain.scale[0] * 2.0**32, -5e-4], np.float32)
    result = _quantize(weight, bias, scale, "minmax", "tensor")
    assert result.scale.shape == (1,)
    assert np.abs(result.bias.astype(np.int64)).max() == BIAS_LIMIT
    np.testing.assert_array_equal(result.bias, _round(bias.astype(np.float64) / result.scale.astype(np.float64)))
    assert (np.abs(_products(result) - weight * scale) <= 0.5001 * result.scale).all()


@pytest.mark.parametrize("power", [-149, -140, -126, -97, -96, -20, 0, 60, 127])
def test_biases_fit_at_every_magnitude(rng, power):
    bias = np.ldexp(rng.uniform(0.5, 1, 200), power).astype(np.float32)
    for scale in (np.zeros(200, np.float32), np.full(200, 1e-45, np.float32), np.full(200, 1e-38, np.float32)):
        fitted, _ = fit_scale_to_bias(scale, bias)
        assert fitted.dtype == np.float32
        steps = bias.astype(np.float64) / np.where(fitted > 0, fitted, 1)
        assert (np.abs(steps) <= BIAS_LIMIT).all()
        assert ((fitted > 0) | (bias == 0)).all()
        np.testing.assert_array_equal(quantize_bias(-bias, fitted), -quantize_bias(bias, fitted))


# --- dead channels ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("merge", MERGES)
def test_dead_weights_keep_their_bias(rng, method, merge):
    weight, bias = _random(rng, 4, 3, 3, 3), np.array([0.5, -0.3, 0, 12], np.float32)
    weight[[1, 2]] = 0
    result = _quantize(weight, bias, _scales(rng, 1), method, merge)
    np.testing.assert_allclose(result.bias * result.scale.astype(np.float64), bias, rtol=1e-2)
    if merge != "tensor":
        np.testing.assert_allclose(result.bias[1] * np.float64(result.scale[1]), bias[1], rtol=1e-6)
    np.testing.assert_allclose(_products(result)[[1, 2]], 0, atol=1e-12)
    assert result.note == ("" if merge == "tensor" else "1 dead channels keep their bias")


@pytest.mark.parametrize("method", METHODS)
def test_dead_inputs_keep_the_bias(rng, method):
    bias = np.array([0.5, -0.3, 3, 12], np.float32)
    for weight, scale, groups in (
        (_random(rng, 4, 3, 3, 3), np.zeros(3, np.float32), 1),
        (_random(rng, 4, 1, 3, 3), np.array([0.1, 0, 0.2, 0], np.float32), 4),
    ):
        result = _quantize(weight, bias, scale, method, "channel", groups)
        np.testing.assert_allclose(result.bias * result.scale.astype(np.float64), bias, rtol=5e-3)
        dead = [1, 3] if groups == 4 else slice(None)
        np.testing.assert_allclose((result.bias * result.scale.astype(np.float64))[dead], bias[dead], rtol=1e-6)
        assert "dead channels keep their bias" in result.note


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("merge", MERGES)
def test_a_layer_of_zeros_keeps_its_biases(method, merge):
    bias = np.array([1, -0.001, 0], np.float32)
    result = _quantize(np.zeros((3, 5), np.float32), bias, np.array([0.1], np.float32), method, merge)
    np.testing.assert_allclose(result.bias * result.scale.astype(np.float64), bias, atol=1e-7)
    assert not result.weight.any()


# --- what is refused ---


@pytest.mark.parametrize(
    ("shape", "groups", "count", "expected"),
    [
        ((6, 4, 3, 3), 1, 3, "3 scales, expected 1 or C = 4"),
        ((6, 4, 3, 3), 1, 6, "6 scales, expected 1 or C = 4"),
        ((6, 2, 3, 3), 3, 2, "2 scales, expected 1 or C = 6"),
        ((8, 1, 3, 3), 8, 3, "3 scales, expected 1 or C = 8"),
        ((6, 20), 1, 20, "20 scales, expected 1$"),
        ((6, 4, 3, 3), 1, 0, "0 scales, expected 1 or C = 4"),
    ],
)
def test_a_wrong_number_of_input_scales(rng, shape, groups, count, expected):
    with pytest.raises(GraphError, match=expected):
        _quantize(_random(rng, *shape), None, _scales(rng, count), groups=groups)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_and_biases_that_are_not_finite(rng, value):
    weight, bias = _random(rng, 4, 3, 3, 3), _random(rng, 4)
    broken = weight.copy()
    broken[2, 1, 0, 0] = value
    with pytest.raises(GraphError, match="1 weights are NaN or infinite"):
        _quantize(broken, bias, _scales(rng, 3))
    bias[[0, 3]] = value
    with pytest.raises(GraphError, match="2 biases are NaN or infinite"):
        _quantize(weight, bias, _scales(rng, 3))


@pytest.mark.parametrize("method", METHODS)
def test_products_beyond_float32(method):
    weight = np.array([3e38, -3e38, 1, 2], np.float32)
    for shape, groups in (((2, 2), 1), ((4, 1, 1, 1), 4)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(GraphError, match="beyond the range of float32"):
                _quantize(weight.reshape(shape), None, np.array([400], np.float32), method, groups=groups)


@pytest.mark.parametrize("merge", MERGES)
def test_the_arguments_are_not_touched(rng, merge):
    arguments = [_random(rng, 4, 3, 3, 3), _random(rng, 4), _scales(rng, 1)]
    before = [array.copy() for array in arguments]
    _quantize(*arguments, merge=merge)
    for array, copy in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(array, copy)
