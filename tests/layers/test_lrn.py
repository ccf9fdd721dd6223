"""LRN against a loop over the windows."""

import numpy as np
import pytest

from tnnquant.errors import GraphError


def _loop(x, alpha, beta, bias, size):
    reach = (size - 1) // 2
    out = np.empty_like(x)
    for c in range(x.shape[1]):
        window = x[:, max(0, c - reach) : c + reach + 1].astype(np.float64)
        out[:, c] = x[:, c] / (bias + alpha / size * (window * window).sum(1)) ** beta
    return out


SHAPES = [(1, 7, 3, 4), (2, 5, 3, 2), (2, 6), (1, 4, 5), (1, 3, 2, 2, 2), (1, 1, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 20])
@pytest.mark.parametrize("beta", [0.75, 0.5, 0.6])
def test_against_the_loop(rng, run_layer, shape, size, beta):
    x = (rng.standard_normal(shape) * 3).astype(np.float32)
    got = run_layer("LRN", f"0.3 {beta} 1.5 {size}", x)[0]
    np.testing.assert_allclose(got, _loop(x, 0.3, beta, 1.5, size), rtol=2e-6)


def test_sizes_that_are_none(run_layer):
    with pytest.raises(GraphError, match="size is 0, expected at least 1"):
        run_layer("LRN", "1 1 1 0", np.zeros((1, 3, 2, 2), np.float32))
