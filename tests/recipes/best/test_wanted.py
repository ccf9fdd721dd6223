"""Outputs kept in a quarter of the memory."""

import numpy as np
import pytest

from tnnquant.recipes.best.wanted import Wanted


@pytest.mark.parametrize("size", [1e-20, 1.0, 6.0, 1e9])
def test_outputs_keep_seven_bits_whatever_their_size(rng, size):
    parts = [(rng.standard_normal((5, 3)) * size).astype(np.float32) for _ in range(2)]
    found = Wanted.rows([Wanted.of(part) for part in parts])
    wanted = np.concatenate(parts).T
    assert found.shape == (3, 10)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous  # kernels read it
    np.testing.assert_allclose(found, wanted, rtol=0, atol=np.abs(wanted).max() / 253)


def test_all_zeros():
    assert not Wanted.rows([Wanted.of(np.zeros((2, 2), np.float32))]).any()
