"""Permute against NumPy."""

import itertools

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


@pytest.mark.parametrize("rank", range(1, 6))
def test_every_order(rng, run_layer, rank):
    x = rng.standard_normal((2, 3, 4, 2, 3)[:rank]).astype(np.float32)
    for order in list(itertools.permutations(range(rank)))[:: 1 if rank < 5 else 7]:
        line = f"{rank} {' '.join(map(str, order))}"
        np.testing.assert_array_equal(run_layer("Permute", line, x)[0], np.transpose(x, order))


@pytest.mark.parametrize("dtype", [np.int32, np.int8])
def test_integers_of_rank_6(rng, run_layer, dtype):
    x = rng.integers(-100, 100, (2, 1, 3, 2, 2, 3)).astype(dtype)
    np.testing.assert_array_equal(run_layer("Permute", "6 5 0 3 1 4 2", x)[0], x.transpose(5, 0, 3, 1, 4, 2))


def test_missing_axes_follow_in_ascending_order(rng, run_layer):
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(run_layer("Permute", "1 2", x)[0], x.transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(run_layer("Permute", "0", x)[0], x)
    layer = find_layer("Permute").parse(["2", "1", "3"]).resolved([BlobSpec((2, 3, 4, 5))], {})
    assert layer.tokens() == ["4", "1", "3", "0", "2"]


@pytest.mark.parametrize("line", ["2 0 0", "1 4", "1 -1", "5 0 1 2 3 4"])
def test_what_does_not_fit(run_layer, line):
    with pytest.raises(GraphError, match="expected each axis of 1x2x3x4 once"):
        run_layer("Permute", line, np.zeros((1, 2, 3, 4), np.float32))
