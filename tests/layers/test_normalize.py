"""Normalize, with TNN's accumulator that is not cleared between images."""

import numpy as np
import pytest

from tnnquant.errors import UnsupportedLayerError

INT_MAX, INT_MIN = 2**31 - 1, -(2**31)


def _loop(x, p, eps):
    x = x.astype(np.float64)
    out, norm = np.empty_like(x), 0.0
    for i, image in enumerate(x):
        if p == 1:
            norm = norm + np.abs(image).sum(0)
        elif p == 2:
            norm = np.maximum(np.sqrt(norm + (image * image).sum(0)), eps)
        else:
            norm = image.max(0) if p == INT_MAX else image.min(0)
        out[i] = image / norm
    return out


@pytest.mark.parametrize("shape", [(1, 5, 3, 4), (3, 4, 3, 3), (2, 6), (2, 3, 4), (2, 3, 2, 2, 2)], ids=str)
@pytest.mark.parametrize("p", [1, 2, INT_MAX, INT_MIN])
def test_against_the_loop(rng, run_layer, shape, p):
    x = rng.standard_normal(shape).astype(np.float32) + np.float32(0.1)
    got = run_layer("Normalize", f"0 0.5 1 1 {p}", x)[0]
    np.testing.assert_allclose(got, _loop(x, p, 0.5), rtol=2e-6, atol=1e-7)


def test_defaults_and_zeros(run_layer):
    x = np.zeros((1, 3, 2, 2), np.float32)
    assert not run_layer("Normalize", "", x)[0].any()
    assert np.isnan(run_layer("Normalize", "0 1e-12 1 1 1", x)[0]).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1", "across_spatial is set; TNN's kernel knows a norm over the channels only"),
        ("0 1e-12 1 2", "axis is 2; TNN's kernel knows axis 1 only"),
        ("0 1e-12 1 1 3", "p is 3; TNN's kernel knows 1, 2, "),
    ],
)
def test_what_tnn_refuses(run_layer, line, message):
    with pytest.raises(UnsupportedLayerError, match=message):
        run_layer("Normalize", line, np.ones((1, 3, 2, 2), np.float32))


def test_of_two_zeros_the_first_divides(run_layer):
    x = np.array([-0.0, 0.0, -3.0], np.float32).reshape(1, 3, 1)
    got = run_layer("Normalize", f"0 0 1 1 {INT_MAX}", x)[0]
    np.testing.assert_array_equal(got.ravel(), [np.nan, np.nan, np.inf])
    got = run_layer("Normalize", f"0 0 1 1 {INT_MIN}", np.abs(x))[0]
    np.testing.assert_array_equal(got.ravel(), [np.nan, np.nan, np.inf])
