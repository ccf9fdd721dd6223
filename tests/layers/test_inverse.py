"""Inverse of matrices."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


@pytest.mark.parametrize("dims", [(2, 2), (3, 2, 2), (1, 5, 2, 2), (4, 3, 3), (1, 1)])
def test_values(rng, run_layer, dims):
    x = (rng.standard_normal(dims) + 3 * np.eye(dims[-1])).astype(np.float32)
    (got,) = run_layer("Inverse", "", x)
    np.testing.assert_allclose(got @ x, np.broadcast_to(np.eye(dims[-1]), dims), rtol=0, atol=1e-5)


def test_singular(run_layer):
    (got,) = run_layer("Inverse", "", np.array([[1, 2], [2, 4]], np.float32))
    np.testing.assert_array_equal(got, [[np.inf, -np.inf], [-np.inf, np.inf]])
    with pytest.raises(GraphError, match="singular"):
        find_layer("Inverse")().forward([np.zeros((3, 3), np.float32)], None)


@pytest.mark.parametrize("dims", [(2,), (2, 3)])
def test_errors(dims):
    with pytest.raises(GraphError, match="square"):
        find_layer("Inverse")().output_specs([BlobSpec(dims)], {})
