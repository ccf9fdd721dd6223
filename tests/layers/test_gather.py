"""Gather and GatherND against NumPy."""

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


@pytest.mark.parametrize(
    ("dims", "axis", "indices"),
    [
        ((5, 7), 0, [4, 0, 0, 2]),
        ((2, 5, 3, 4), 1, [3, 1]),
        ((2, 3, 6), -1, [[0, 5], [2, 2]]),
        ((4, 3), 0, [-1, 1, -4]),
        ((6,), 0, [[3]]),
        ((2, 3, 4, 5, 2), 3, [0]),
        ((2, 3, 4, 2, 2, 3), -2, [1, 0, 1]),
    ],
)
def test_gather(rng, run_layer, dims, axis, indices):
    x = rng.standard_normal(dims).astype(np.float32)
    stored = np.array(indices, np.int32)
    for value in (x, (x * 100).astype(np.int32), (x * 30).astype(np.int8)):
        wanted = np.take(value, stored, axis)
        for out in (
            run_layer("Gather", f"{axis} 0 1", value, tensors={"indices": stored})[0],
            run_layer("Gather", f"{axis} 0 0", value, stored)[0],
            run_layer("Gather", f"{axis} 1 0", stored, tensors={"data": value})[0],
            run_layer("Gather", f"{axis} 1 1", tensors={"data": value, "indices": stored})[0],
        ):
            np.testing.assert_array_equal(out, wanted)


def test_an_index_without_dims_drops_the_axis(rng, run_layer):
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    one = Tensor(np.array([-1], np.int32), (), DataType.INT32)
    np.testing.assert_array_equal(run_layer("Gather", "1 0 1", x, tensors={"indices": one})[0], x[:, -1])
    out = run_layer("Gather", "0 0 1", x[0, 0], tensors={"indices": one})[0]
    assert out.shape == ()
    assert out == x[0, 0, 3]


def test_indices_without_dims_are_a_vector(rng, run_layer):
    x = rng.standard_normal((4, 2)).astype(np.float32)
    several = Tensor(np.array([2, 0, 3], np.int32), (), DataType.INT32)
    np.testing.assert_array_equal(run_layer("Gather", "0 0 1", x, tensors={"indices": several})[0], x[[2, 0, 3]])


def test_dynamic_range_data_is_widened_by_rows():
    table = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    scale = np.array([0.5, 2, 0.25], np.float32)
    layer = find_layer("DynamicRangeQuantizedGather").parse(["0", "1", "0"])
    tensors = layer.widened({"data": Tensor.from_array(table), "scale": Tensor.from_array(scale)})
    assert set(tensors) == {"data"}
    indices = np.array([2, 0], np.int32)
    specs = [BlobSpec((2,), DataType.INT32)]
    (out,) = layer.forward([indices], layer.prepare(tensors, specs))
    np.testing.assert_array_equal(out, (table * scale[:, None])[indices])
    assert layer.output_specs(specs, tensors)[0].dtype == DataType.FLOAT
    with pytest.raises(GraphError, match="with 2 scales"):
        layer.widened({"data": Tensor.from_array(table), "scale": Tensor.from_array(scale[:2])})


def test_what_does_not_fit(rng, run_layer):
    x = np.zeros((4, 3), np.float32)
    with pytest.raises(GraphError, match="index 4 lies outside an axis of 4"):
        run_layer("Gather", "0 0 0", x, np.array([0, 4], np.int32))
    with pytest.raises(GraphError, match="index -5 lies outside an axis of 4"):
        run_layer("Gather", "0 0 1", x, tensors={"indices": np.array([-5], np.int32)})
    with pytest.raises(GraphError, match="its indices should lie in the model file"):
        run_layer("Gather", "0 0 1", x)
    with pytest.raises(GraphError, match="its data should be an input"):
        run_layer("Gather", "0 0 1", tensors={"indices": np.array([0], np.int32)})
    with pytest.raises(GraphError, match="axis is 2"):
        run_layer("Gather", "2 0 0", x, np.array([0], np.int32))
    with pytest.raises(GraphError, match="its indices are FLOAT"):
        run_layer("Gather", "0 0 1", x, tensors={"indices": np.zeros(1, np.float32)})


def _gather_nd(data, indices, batch):
    out = np.empty(indices.shape[:-1] + data.shape[batch + indices.shape[-1] :], data.dtype)
    for place in np.ndindex(indices.shape[:-1]):
        out[place] = data[(*place[:batch], *indices[place])]
    return out


@pytest.mark.parametrize(
    ("dims", "indices", "batch"),
    [
        ((2, 3, 4, 5), (1, 2), 0),
        ((5, 3), (1, 1, 1), 0),
        ((3, 4), (5, 2), 0),
        ((3, 4, 2), (2, 3, 1), 0),
        ((6,), (4, 1), 0),
        ((6, 5), (2,), 0),
        ((2, 3, 4), (2, 5, 1), 1),
        ((2, 3, 4, 5), (2, 3, 2, 2), 2),
    ],
)
def test_gather_nd(rng, run_layer, dims, indices, batch):
    data = rng.standard_normal(dims).astype(np.float32)
    places = rng.integers(-2, 2, indices).astype(np.int32)
    for value in (data, (data * 100).astype(np.int32)):
        np.testing.assert_array_equal(
            run_layer("GatherND", str(batch), value, places)[0], _gather_nd(value, places, batch)
        )


def test_gather_nd_that_does_not_fit(run_layer):
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(GraphError, match="indices of dims 4x3 do not fit data of dims 2x3"):
        run_layer("GatherND", "0", x, np.zeros((4, 3), np.int32))
    with pytest.raises(GraphError, match="index 2 lies outside an axis of 2"):
        run_layer("GatherND", "0", x, np.full((1, 1), 2, np.int32))
    with pytest.raises(GraphError, match="has 1 inputs"):
        run_layer("GatherND", "0", x)
