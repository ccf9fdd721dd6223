"""NonZero, OneHot and Histogram."""

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


def _nonzero(x, *, constant):
    layer = find_layer("NonZero").parse([])
    spec = BlobSpec(x.shape, value=x if constant else None)
    return layer.forward([x], layer.prepare({}, [spec]))[0]


def test_nonzero_of_a_vector():
    x = np.array([0, 3, -0.0, 1e-45], np.float32)
    for constant in (False, True):
        assert _nonzero(x, constant=constant).tolist() == [[1, 2, 3]]  # the bytes of -0.0 are not all zero


def test_nonzero_of_a_constant_matrix_is_scrambled_as_in_tnn():
    x = np.array([[0, 1, 0], [2, -3, 4]], np.int32)
    assert _nonzero(x, constant=True).tolist() == [[0, 1, 1, 1], [2, 0, 0, 0]]
    assert _nonzero(np.array([[7]], np.int32), constant=True).tolist() == [[0], [0]]


@pytest.mark.parametrize("dims", [(5,), (3, 4), (2, 3, 4), (2, 2, 3, 2)])
def test_nonzero_at_run_time(rng, dims):
    x = (rng.integers(0, 3, dims) - 1).astype(np.int32)
    np.testing.assert_array_equal(_nonzero(x, constant=False), np.stack(np.nonzero(x)))
    (spec,) = find_layer("NonZero").parse([]).output_specs([BlobSpec(dims)], {})
    assert spec.dims == (len(dims), x.size)


def _one_hot(indices, depth, axis, off, on):
    return np.moveaxis(np.where(np.arange(depth) == (indices % depth)[..., None], on, off), -1, axis)


@pytest.mark.parametrize(
    ("dims", "axis"), [((5,), -1), ((2, 3), 1), ((4,), 0), ((2, 3), -2), ((2, 1, 3, 2), 2), ((2, 3, 2), -1)]
)
def test_one_hot(rng, run_layer, dims, axis):
    indices = rng.integers(-4, 4, dims).astype(np.int32)
    depth, values = np.array([4], np.int32), np.array([-1, 2.5], np.float32)
    (out,) = run_layer("OneHot", f"{axis} 4 -1 2.5", indices, depth, values)
    np.testing.assert_array_equal(out, _one_hot(indices, 4, axis, -1, 2.5))
    assert out.dtype == np.float32
    (out,) = run_layer("OneHot", f"{axis}", indices, depth, constant=(1,))
    np.testing.assert_array_equal(out, _one_hot(indices, 4, axis, 0, 1))


def test_one_hot_of_an_index_outside_is_off(run_layer):
    (out,) = run_layer("OneHot", "-1 3 0 1", np.array([3, -4, 2], np.int32))
    assert out.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("dims", [(6,), (1, 6), (2, 3, 4)])
def test_histogram(rng, run_layer, dims):
    x = rng.integers(-1, 7, dims).astype(np.int32)
    (out,) = run_layer("Histogram", "5", x)
    assert out.tolist() == [(x == i).sum() for i in range(5)]


def test_what_does_not_fit(run_layer):
    x = np.zeros(3, np.int32)
    with pytest.raises(GraphError, match="depth is -1"):
        run_layer("OneHot", "-1", x)
    with pytest.raises(GraphError, match="axis is 2"):
        run_layer("OneHot", "2 3", x)
    with pytest.raises(GraphError, match="depth is 0"):
        run_layer("Histogram", "", x)
