"""InstBatchNormCxx, GroupNorm, LayerNorm against their formulas in double."""

import numpy as np
import pytest

from tnnquant.errors import GraphError, UnsupportedLayerError

SHAPES = [(2, 6), (2, 6, 7), (2, 6, 5, 4), (1, 6, 40, 33), (1, 6, 2, 3, 2), (3, 6, 1, 1)]


def _random(rng, *shape):
    return (rng.standard_normal(shape) * 2 + 1).astype(np.float32)


def _normalized(x, axes, eps):
    x = x.astype(np.float64)
    mean = x.mean(axes, keepdims=True)
    variance = np.maximum((x * x).mean(axes, keepdims=True) - mean * mean, 0)
    return (x - mean) / np.sqrt(variance + eps)


def _each(v, x):
    return v.reshape(-1, *(1,) * (x.ndim - 2))


def _check(got, want):
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_instance_norm(rng, run_layer, shape, eps):
    x, k, b = _random(rng, *shape), _random(rng, 6), _random(rng, 6)
    want = _normalized(x, tuple(range(2, x.ndim)), eps) * _each(k, x) + _each(b, x)
    if x[0, 0].size > 1:
        _check(run_layer("InstBatchNormCxx", f"6 {eps}", x, tensors={"scale": k, "bias": b})[0], want)
    else:  # the variance of one value is 0, but for the rounding of its square, which TNN clamps away
        got = run_layer("InstBatchNormCxx", f"6 {eps}", x, tensors={"scale": k, "bias": b})[0]
        np.testing.assert_allclose(got, np.broadcast_to(_each(b, x), shape), atol=1e-2)


def test_instance_norm_without_bias(rng, run_layer):
    x, k = _random(rng, 1, 3, 4, 4), _random(rng, 3)
    want = _normalized(x, (2, 3), 1e-5) * _each(k, x)
    _check(run_layer("InstBatchNormCxx", "", x, tensors={"scale": k})[0], want)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_group_norm(rng, run_layer, shape, groups):
    x, k, b = _random(rng, *shape), _random(rng, 6), _random(rng, 6)
    parts = x.reshape(shape[0], groups, -1)
    want = _normalized(parts, (2,), 1e-3).reshape(shape) * _each(k, x) + _each(b, x)
    _check(run_layer("GroupNorm", f"{groups} 0.001", x, k, b)[0], want)
    _check(run_layer("GroupNorm", f"{groups} 0.001", x, k.reshape(1, 6, 1), b, constant=(1, 2))[0], want)


@pytest.mark.parametrize(
    ("shape", "count"), [((3, 17), 1), ((2, 3, 6), 1), ((1, 3, 4, 5), 2), ((2, 3, 2, 2, 3), 5), ((9,), 1)]
)
def test_layer_norm(rng, run_layer, shape, count):
    x = _random(rng, *shape)
    k, b = _random(rng, *shape[-count:]), _random(rng, *shape[-count:])
    want = _normalized(x, tuple(range(x.ndim - count, x.ndim)), 1e-5) * k + b
    _check(run_layer("LayerNorm", str(count), x, k, b)[0], want)


def test_large_mean(rng, run_layer):
    """The factors are double: a float32 product with the mean would lose what is left of the variance."""
    x = (rng.standard_normal((1, 2, 30, 30)) + 3000).astype(np.float32)
    k, b = np.ones(2, np.float32), np.zeros(2, np.float32)
    squares = (x * x).astype(np.float64).mean((2, 3), keepdims=True)  # float32 squares, as TNN takes them
    mean = x.astype(np.float64).mean((2, 3), keepdims=True)
    want = (x - mean) / np.sqrt(np.maximum(squares - mean * mean, 0) + 1e-5)
    _check(run_layer("InstBatchNormCxx", "2", x, tensors={"scale": k, "bias": b})[0], want)


@pytest.mark.parametrize(
    ("kind", "line", "shapes", "message"),
    [
        ("GroupNorm", "4", [(1, 6, 2, 2), (6,), (6,)], "6 channels cannot be parted into 4 groups"),
        ("GroupNorm", "", [(1, 6, 2, 2), (6,), (6,)], "6 channels cannot be parted into 0 groups"),
        ("GroupNorm", "2", [(1, 6, 2, 2), (6,), (5,)], "scale and bias have 6 and 5 values, expected 6"),
        ("GroupNorm", "2", [(1, 6, 2, 2), (6,)], "has 2 input blobs, expected 3"),
        ("GroupNorm", "1", [(6,), (6,), (6,)], "expected at least 2 dims"),
        ("LayerNorm", "", [(2, 3), (3,), (3,)], "reduce_dims_size is 0, expected 1 to 2"),
        ("LayerNorm", "1", [(2, 3), (2,), (3,)], "scale is 2, bias has 3 values; expected 3"),
        ("LayerNorm", "2", [(2, 3), (6,), (6,)], "expected 2x3"),
        ("InstBatchNormCxx", "3", [(3,)], "expected at least 2 dims"),
    ],
)
def test_what_does_not_fit(run_layer, kind, line, shapes, message):
    with pytest.raises(GraphError, match=message):
        run_layer(kind, line, *(np.zeros(shape, np.float32) for shape in shapes))


def test_integers_are_refused(run_layer):
    with pytest.raises(UnsupportedLayerError, match="INT32"):
        run_layer("LayerNorm", "1", np.zeros((2, 3), np.int32), np.zeros(3, np.float32), np.zeros(3, np.float32))
