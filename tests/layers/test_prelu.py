"""PReLU."""

import numpy as np
import pytest

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import find_layer


@pytest.mark.parametrize("shape", [(5,), (2, 6), (2, 5, 4), (2, 17, 3, 4), (1, 3, 2, 3, 2)])
@pytest.mark.parametrize("shared", [0, 1])
def test_against_numpy(rng, run_layer, shape, shared):
    channels = shape[1] if len(shape) > 1 else 1
    x, slope = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(channels).astype(np.float32)
    each = slope[:1] if shared else slope.reshape(-1, *(1,) * max(0, len(shape) - 2))
    want = np.where(x < 0, x * each, x)
    np.testing.assert_array_equal(run_layer("PReLU", f"{shared} 1", x, tensors={"slope": slope})[0], want)


def test_half_precision_slope(run_layer):
    slope = Tensor.from_array(np.array([0.5, -2], np.float16))
    got = run_layer("PReLU", "0", np.array([[-3, -3]], np.float32), tensors={"slope": slope})[0]
    assert got.tolist() == [[-1.5, 6]]


def test_only_1_means_shared():
    assert find_layer("PReLU").parse(["2", "1"]).tokens() == ["0", "1"]


def test_slopes_that_do_not_fit(run_layer):
    x = np.zeros((1, 3, 2, 2), np.float32)
    with pytest.raises(GraphError, match="slope has 2 values, expected 1 or one for each of 3 channels"):
        run_layer("PReLU", "0", x, tensors={"slope": np.ones(2, np.float32)})
    with pytest.raises(GraphError, match="has no slope"):
        run_layer("PReLU", "0", x)
    with pytest.raises(GraphError, match="has no slope"):
        run_layer("PReLU", "1", x, tensors={"slope": np.ones(0, np.float32)})
