"""Softmax and LogSoftmax."""

import numpy as np
import pytest

from tnnquant.errors import GraphError, UnsupportedLayerError

SHAPES = [(6,), (3, 17), (3, 4, 5), (2, 5, 3, 4), (1, 1000, 1, 1), (2, 2, 3, 2, 3), (1, 2, 3, 2, 1, 2)]


def _softmax(x, axis):
    e = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_axis(rng, run_layer, shape):
    x = (rng.standard_normal(shape) * 3).astype(np.float32)
    for axis in range(-len(shape), len(shape)):
        want = _softmax(x, axis)
        np.testing.assert_allclose(run_layer("Softmax", str(axis), x)[0], want, rtol=2e-6)
        np.testing.assert_allclose(run_layer("LogSoftmax", str(axis), x)[0], np.log(want), rtol=1e-5, atol=2e-6)


def test_default_axis_is_1(rng, run_layer):
    x = rng.standard_normal((2, 6)).astype(np.float32)
    np.testing.assert_allclose(run_layer("SoftmaxCaffe", "", x)[0].sum(1), 1, rtol=1e-6)


def test_large_logits(run_layer):
    x = np.array([[1000, 0, -1000, 999]], np.float32)
    np.testing.assert_allclose(run_layer("Softmax", "1", x)[0], [[0.7310586, 0, 0, 0.26894143]], rtol=1e-6)
    np.testing.assert_allclose(
        run_layer("LogSoftmax", "1", x)[0], [[-0.31326166, -np.inf, -np.inf, -1.3132616]], rtol=1e-6
    )


def test_what_does_not_fit(run_layer):
    with pytest.raises(GraphError, match="axis is 2, the blob has 2 dims"):
        run_layer("Softmax", "2", np.zeros((2, 3), np.float32))
    with pytest.raises(UnsupportedLayerError, match="input 0 is INT32; TNN's kernel takes FLOAT only"):
        run_layer("Softmax", "1", np.zeros((2, 3), np.int32))
