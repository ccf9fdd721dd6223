"""Matrix products against NumPy in double."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer
from tnnquant.layers.matmul import product_dims

CASES = [
    ((3, 5), (5, 4)),
    ((1, 40), (40, 33)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 3, 4, 6), (2, 3, 6, 17)),
    ((1, 1, 4, 6), (2, 3, 6, 5)),
    ((2, 3, 4, 6), (1, 1, 6, 5)),
    ((2, 3, 4, 6), (3, 6, 5)),
    ((4,), (4, 3)),
    ((3, 4), (4,)),
    ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)),
    ((4,), (4,)),
]


@pytest.mark.parametrize(("a", "b"), CASES, ids=str)
@pytest.mark.parametrize("constant", [(), (0,), (1,)], ids=["blobs", "first constant", "second constant"])
def test_values(rng, run_layer, a, b, constant):
    a, b = (rng.standard_normal(dims).astype(np.float32) for dims in (a, b))
    (got,) = run_layer("MatMul", "-1", a, b, constant=constant)
    wanted = np.matmul(a.astype(np.float64), b)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("position", "blob", "weight"), [(1, (2, 3, 5), (5, 6)), (1, (2, 5, 4), (2, 4, 3)), (0, (6, 4), (5, 6))]
)
def test_resource(rng, run_layer, position, blob, weight, dtype):
    x = rng.standard_normal(blob).astype(np.float32)
    w = rng.standard_normal(weight).astype(dtype)
    (got,) = run_layer("MatMul", str(position), x, tensors={"weight": w})
    wanted = np.matmul(x, w.astype(np.float64)) if position else np.matmul(w.astype(np.float64), x)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_batches_are_paired_by_their_flat_index(rng, run_layer):
    a = rng.standard_normal((1, 2, 3, 4)).astype(np.float32)
    b = rng.standard_normal((2, 1, 4, 5)).astype(np.float32)
    (got,) = run_layer("MatMul", "-1", a, b)
    for i in range(4):
        wanted = a.reshape(2, 3, 4)[i % 2] @ b.reshape(2, 4, 5)[i % 2]
        np.testing.assert_allclose(got.reshape(4, 3, 5)[i], wanted, rtol=0, atol=1e-5)


def test_dynamic_range_weight(rng, run_layer):
    x = rng.standard_normal((3, 5)).astype(np.float32)
    w = rng.integers(-127, 128, (5, 6)).astype(np.int8)
    scale = np.array([0.03], np.float32)
    (got,) = run_layer("DynamicRangeQuantizedMatMul", "1", x, tensors={"weight": w, "scale": scale})
    np.testing.assert_allclose(got, x @ (w * scale), rtol=0, atol=1e-5 * np.abs(got).max())
    wide = find_layer("MatMul")(1).widened({"weight": Tensor.from_array(w), "scale": Tensor.from_array(scale)})
    assert wide["weight"].dtype == DataType.FLOAT
    assert wide["weight"].dims == (5, 6)
    assert set(wide) == {"weight"}


def test_errors():
    for a, b in [((3, 5), (4, 5)), ((2, 3, 4), (3, 4, 5)), ((3,), (4,)), ((), (3,))]:
        with pytest.raises(GraphError):
            product_dims(a, b)
    layer = find_layer("MatMul").parse([])
    with pytest.raises(GraphError, match="weight_position -1, expected 0 or 1"):
        layer.output_specs([BlobSpec((3, 5))], {})
    with pytest.raises(GraphError, match="no weight"):
        find_layer("MatMul")(1).output_specs([BlobSpec((3, 5))], {})
    with pytest.raises(UnsupportedLayerError, match="INT32"):
        layer.output_specs([BlobSpec((3, 5), DataType.INT32), BlobSpec((5, 3))], {})


def test_macs():
    layer = find_layer("MatMul").parse([])
    specs = [BlobSpec((2, 3, 4)), BlobSpec((2, 4, 5))]
    assert layer.macs(specs, layer.output_specs(specs, {})) == 2 * 3 * 4 * 5
