"""Inner product against NumPy in double."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer


@pytest.mark.parametrize("bias", [0, 1])
@pytest.mark.parametrize("count", [1, 15, 16, 33, 100])
@pytest.mark.parametrize("dims", [(1, 7), (3, 40), (2, 5, 3, 4), (1, 20, 1, 1), (2, 2, 2, 2, 3)])
def test_values(rng, run_layer, dims, count, bias):
    x = rng.standard_normal(dims).astype(np.float32)
    weight = rng.standard_normal((count, x[0].size)).astype(np.float32)
    offset = rng.standard_normal(count).astype(np.float32)
    (got,) = run_layer("InnerProduct", f"{count} {bias} 0 1", x, tensors={"weight": weight, "bias": offset})
    wanted = x.reshape(len(x), -1).astype(np.float64) @ weight.T + (offset if bias else 0)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_dynamic_range_and_half_weights(rng, run_layer):
    x = rng.standard_normal((2, 12)).astype(np.float32)
    weight = rng.integers(-127, 128, (6, 12)).astype(np.int8)
    scale = np.array([0.05], np.float32)
    empty = np.zeros(0, np.float32)
    (got,) = run_layer(
        "DynamicRangeQuantizedInnerProduct", "6 0 0 1", x, tensors={"weight": weight, "scale": scale, "bias": empty}
    )
    wide = weight.astype(np.float32) * scale
    (wanted,) = run_layer("InnerProduct", "6 0 0 1", x, tensors={"weight": wide, "bias": empty})
    np.testing.assert_array_equal(got, wanted)
    (half,) = run_layer("InnerProduct", "6 0 0 1", x, tensors={"weight": weight.astype(np.float16), "bias": empty})
    np.testing.assert_allclose(half * scale, wanted, rtol=1e-5, atol=1e-5)


def test_errors():
    layer = find_layer("InnerProduct").parse("4 1 0 1".split())
    specs = [BlobSpec((2, 5))]
    with pytest.raises(GraphError, match=r"weight has 24 values, expected num_output\*K = 4\*5 = 20"):
        layer.prepare({"weight": Tensor(np.zeros(24, np.float32))}, specs)
    with pytest.raises(GraphError, match="bias has 3 values, expected num_output = 4"):
        layer.prepare({"weight": Tensor(np.zeros(20, np.float32)), "bias": Tensor(np.zeros(3, np.float32))}, specs)
    with pytest.raises(GraphError, match="no weight"):
        layer.prepare({}, specs)
    with pytest.raises(UnsupportedLayerError, match="axis is 2"):
        find_layer("InnerProduct").parse("4 1 0 2".split()).output_specs([BlobSpec((2, 5, 3))], {})
