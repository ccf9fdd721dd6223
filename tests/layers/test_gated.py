"""HardSwish, GLU, SignedMul."""

import itertools

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


def _random(rng, *shape):
    return (rng.standard_normal(shape) * 3).astype(np.float32)


@pytest.mark.parametrize("shape", [(7,), (2, 9), (2, 3, 4), (1, 17, 2, 3), (1, 2, 3, 4, 2)])
def test_hard_swish_of_one_blob(rng, run_layer, shape):
    x = _random(rng, *shape)
    gate = np.clip(x * np.float32(1 / 6) + np.float32(0.5), 0, 1)
    np.testing.assert_allclose(run_layer("HardSwish", "0.16666667 0.5", x)[0], x * gate, rtol=1e-6)


def test_hard_swish_defaults_and_nan(run_layer):
    x = np.array([-2, 0.5, 3, np.nan], np.float32)
    np.testing.assert_array_equal(run_layer("HardSwish", "", x)[0], [-0.0, 0.25, 3, np.nan])


def _left_aligned(x0, x1, alpha, beta):
    """TNN's loop: trailing ones, clamped indices, over the right-aligned maximum."""
    rank = max(x0.ndim, x1.ndim)
    dims = [max(pair) for pair in itertools.zip_longest(x0.shape[::-1], x1.shape[::-1], fillvalue=1)][::-1]
    x0, x1 = (x.reshape(x.shape + (1,) * (rank - x.ndim)) for x in (x0, x1))
    out = np.empty(dims, np.float32)
    for index in np.ndindex(*dims):
        a, b = (x[tuple(min(i, d - 1) for i, d in zip(index, x.shape, strict=True))] for x in (x0, x1))
        out[index] = a * max(min(b * np.float32(alpha) + np.float32(beta), 1), 0)
    return out


@pytest.mark.parametrize(
    "shapes",
    [
        ((1, 3, 4, 5), (1, 3, 4, 5)),
        ((2, 3), (3,)),
        ((3,), (2, 3)),
        ((2, 1, 4, 5), (2, 3, 1, 5)),
        ((2, 3, 4), (4,)),
        ((2, 3, 2, 2, 3), (2, 3, 1, 1, 1)),
        ((2, 3, 2, 2, 3), (1,)),
    ],
)
def test_hard_swish_of_two_blobs(rng, run_layer, shapes):
    x0, x1 = (_random(rng, *shape) for shape in shapes)
    np.testing.assert_allclose(
        run_layer("HardSwish", "0.2 0.5", x0, x1)[0], _left_aligned(x0, x1, 0.2, 0.5), rtol=1e-6, atol=1e-7
    )


def test_hard_swish_of_shapes_that_do_not_fit():
    with pytest.raises(GraphError, match="operands of 2x3 and 2x4 cannot be broadcast"):
        find_layer("HardSwish")().output_specs([BlobSpec((2, 3)), BlobSpec((2, 4))], {})


@pytest.mark.parametrize(("shape", "axis"), [((1, 6, 3, 5), 1), ((3, 8), -1), ((1, 2, 6, 3), 2), ((2, 3, 2, 2, 4), -1)])
def test_glu(rng, run_layer, shape, axis):
    x = _random(rng, *shape)
    a, b = np.split(x, 2, axis)
    np.testing.assert_allclose(run_layer("GLU", str(axis), x)[0], a / (1 + np.exp(-b)), rtol=1e-6)


def test_glu_stores_a_positive_axis_and_refuses_what_it_cannot_split():
    specs = [BlobSpec((2, 3, 4))]
    assert find_layer("GLU")().resolved(specs, {}).tokens() == ["2"]
    for axis, message in ((-3, "axis 0 is the batch"), (1, "axis 1 of 2x3x4 is odd"), (3, "expected -3 to 2")):
        with pytest.raises(GraphError, match=message):
            find_layer("GLU")(axis).resolved(specs, {})


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 3, 3), (2, 4), (1, 2, 3)])
def test_signed_mul_squares_channel_0(rng, run_layer, shape):
    x = _random(rng, *shape)
    x.flat[0] = 0.5
    want = (np.sign(x - np.float32(0.5)) + np.float32(1)) * (np.float32(1) / np.float32(3))
    np.testing.assert_allclose(run_layer("SignedMul", "0.5 1 3", x)[0], want * want[:, :1], rtol=1e-6)
