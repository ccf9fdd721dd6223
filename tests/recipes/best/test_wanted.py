"""Outputs kept in a quarter of the memory."""

import numpy as np
import pytest

from tnnquant.recipes.best.wanted import Wanted


@pytest.mark.parametrize("size", [1e-20, 1.0, 6.0, 1e9])
def test_outputs_are_kept_to_half_a_step_of_256_and_their_ends_exactly(rng, size):
    parts = [(rng.standard_normal((50, 3)) * size).astype(np.float32).clip(0) for _ in range(2)]
    found, wanted = Wanted.rows([Wanted.of(part) for part in parts]), np.concatenate(parts).T
    assert found.shape == (3, 100)
    for number, part in enumerate(parts):
        rows = found[:, 50 * number :][:, :50]
        assert (np.abs(rows - part.T) <= 0.501 * part.max(axis=0)[:, None] / 255).all()
        np.testing.assert_allclose(rows.max(axis=1), part.max(axis=0), rtol=1e-6)
    assert (found[wanted == 0] == 0).all()


def test_all_zeros():
    assert not Wanted.rows([Wanted.of(np.zeros((2, 2), np.float32))]).any()
