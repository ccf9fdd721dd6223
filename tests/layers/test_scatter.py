"""Scatter, ScatterElements and ScatterND against loops."""

import numpy as np
import pytest

from tnnquant.errors import GraphError


def _scatter(data, indices, updates, axis, add=False):
    out = data.copy()
    for place in np.ndindex(indices.shape):
        target = list(place)
        if axis is not None:
            target[axis] = indices[place]
        target = tuple(target)
        out[target] = out[target] + updates[place] if add else updates[place]
    return out


CASES = [
    ((2, 5, 3), (2, 2, 3), 1),
    ((3, 5), (3, 2), 1),
    ((4, 3), (1, 3), 0),
    ((7,), (5,), 0),
    ((1, 3, 4, 4), (1, 3, 2, 4), 2),
    ((2, 3, 2, 4, 3), (1, 3, 2, 6, 2), 3),
]


def _case(rng, dims, updates, axis):
    data = rng.standard_normal(dims).astype(np.float32)
    indices = rng.integers(-dims[axis], dims[axis], updates).astype(np.int32)  # some places twice
    return data, indices, rng.standard_normal(updates).astype(np.float32)


@pytest.mark.parametrize(("dims", "updates", "axis"), CASES)
def test_scatter(rng, run_layer, dims, updates, axis):
    data, indices, values = _case(rng, dims, updates, axis)
    wanted = _scatter(data, indices, values, axis)
    for line in (str(axis), str(axis - len(dims))):
        np.testing.assert_array_equal(run_layer("Scatter", line, data, indices, values)[0], wanted)
        (out,) = run_layer("Scatter", line, data, values, tensors={"indices": indices})
        np.testing.assert_array_equal(out, wanted)
        (out,) = run_layer("Scatter", line, data, indices, tensors={"updates": values})
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("op", [0, 1])
@pytest.mark.parametrize(("dims", "updates", "axis"), CASES)
def test_scatter_elements(rng, run_layer, dims, updates, axis, op):
    data, indices, values = _case(rng, dims, updates, axis)
    (out,) = run_layer("ScatterElements", f"{axis} {op}", data, indices, values)
    np.testing.assert_allclose(out, _scatter(data, indices, values, axis, op), rtol=1e-6)


def test_scatter_elements_ignores_the_indices_of_a_negative_axis(rng, run_layer):
    data, indices, values = _case(rng, (2, 5, 3), (2, 2, 3), 1)
    (out,) = run_layer("ScatterElements", "-2 0", data, indices, values)
    np.testing.assert_array_equal(out, _scatter(data, indices, values, None))


@pytest.mark.parametrize(
    ("dims", "indices"), [((8,), (4, 1)), ((3, 4), (2, 2)), ((4, 3), (2, 1)), ((3, 4, 2, 5), (2, 3, 2)), ((5, 6), (1,))]
)
def test_scatter_nd(rng, run_layer, dims, indices):
    data = rng.standard_normal(dims).astype(np.float32)
    places = rng.integers(-3, 3, indices).astype(np.int32)
    updates = rng.standard_normal(indices[:-1] + dims[indices[-1] :]).astype(np.float32)
    wanted = data.copy()
    for place in np.ndindex(indices[:-1]):
        wanted[tuple(places[place])] = updates[place]
    np.testing.assert_array_equal(run_layer("ScatterND", "", data, places, updates)[0], wanted)
    (out,) = run_layer("ScatterND", "", data, updates, tensors={"indices": places})
    np.testing.assert_array_equal(out, wanted)


def test_what_does_not_fit(run_layer):
    x, i = np.zeros((2, 3), np.float32), np.zeros((1, 3), np.int32)
    with pytest.raises(GraphError, match="indices 1x3 and updates 2x3 must have the same dims"):
        run_layer("Scatter", "0", x, i, x)
    with pytest.raises(GraphError, match="index 7 lies outside an axis of 2"):
        run_layer("ScatterElements", "0 0", x, i + 7, x[:1])
    with pytest.raises(GraphError, match="updates 1x4 reach beyond"):
        run_layer("Scatter", "0", x, np.zeros((1, 4), np.int32), np.zeros((1, 4), np.float32))
    with pytest.raises(GraphError, match="has 1 inputs; with what lies in the model file, 3 are needed"):
        run_layer("ScatterND", "", x)
    with pytest.raises(GraphError, match="do not fit data of dims 2x3"):
        run_layer("ScatterND", "", x, np.zeros((1, 1), np.int32), np.zeros((1, 4), np.float32))
    with pytest.raises(GraphError, match="has 2 inputs"):
        run_layer("ScatterElements", "0 0", x, i)
