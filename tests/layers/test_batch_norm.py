"""BatchNorm, Scale, BiasAdd."""

import numpy as np
import pytest

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import find_layer

SHAPES = [(2, 5), (2, 3, 4), (2, 17, 3, 2), (1, 1, 4, 4), (1, 3, 2, 3, 2), (1, 2, 2, 1, 2, 3)]
KINDS = [("BatchNormCxx", ""), ("BatchNormalization", "ignored 7"), ("Scale", "1 1 1")]


def _random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("kind", "line"), KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_per_channel(rng, run_layer, kind, line, shape):
    x, k, b = _random(rng, *shape), _random(rng, shape[1]), _random(rng, shape[1])
    each = (-1, *(1,) * (len(shape) - 2))
    got = run_layer(kind, line, x, tensors={"scale": k, "bias": b})[0]
    np.testing.assert_array_equal(got, x * k.reshape(each) + b.reshape(each))
    for tensors in ({"scale": k}, {"scale": k, "bias": b[:0]}):
        np.testing.assert_array_equal(run_layer(kind, line, x, tensors=tensors)[0], x * k.reshape(each))


@pytest.mark.parametrize(("kind", "line"), KINDS)
@pytest.mark.parametrize("shape", [(), (7,), *SHAPES], ids=str)
def test_one_value_serves_all_channels(rng, run_layer, kind, line, shape):
    x = _random(rng, *shape)
    tensors = {"scale": np.array([1.5], np.float32), "bias": Tensor.from_array(np.array([0.25], np.float16))}
    np.testing.assert_array_equal(
        run_layer(kind, line, x, tensors=tensors)[0], x * np.float32(1.5) + np.float32(0.25)
    )


@pytest.mark.parametrize(
    ("scale", "bias", "message"),
    [
        (np.ones(0), None, "has no scale"),
        (np.ones(2), None, "scale has 2 values, expected 1 or one for each of 3 channels"),
        (np.ones(3), np.ones(2), "bias has 2 values, expected 3, as many as scale"),
    ],
)
def test_tensors_that_do_not_fit(run_layer, scale, bias, message):
    tensors = {"scale": scale.astype(np.float32)}
    if bias is not None:
        tensors["bias"] = bias.astype(np.float32)
    with pytest.raises(GraphError, match=message):
        run_layer("BatchNormCxx", "", np.zeros((1, 3, 2, 2), np.float32), tensors=tensors)


def test_integers_are_refused(run_layer):
    with pytest.raises(UnsupportedLayerError, match="INT32; TNN's kernel takes FLOAT only"):
        run_layer("Scale", "1 1 0", np.zeros((1, 3), np.int32), tensors={"scale": np.ones(3, np.float32)})


def test_bias_add_is_refused_by_name():
    for name in ("BiasAdd", "QuantizedBiasAdd", "QuantizedSum"):
        assert not find_layer(name).runnable()
        assert "use Add or Scale" in find_layer(name).WHY_NOT
