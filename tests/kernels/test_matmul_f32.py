"""The matrix product kernel against its naive twin."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.kernels.matmul_f32 import matmul_f32, matmul_f32_naive

# batches of a, b and the result; M, K, N
CASES = [
    (1, 1, 1, 1, 1, 1),
    (1, 1, 1, 1, 40, 33),
    (2, 2, 2, 5, 7, 16),
    (3, 1, 3, 17, 31, 15),
    (1, 4, 4, 6, 3, 17),
    (2, 3, 6, 2, 9, 48),
    (1, 1, 1, 300, 20, 31),
    (1, 1, 1, 13, 1, 100),
    (2, 2, 2, 197, 9, 133),
    (1, 1, 1, 7, 30, 64),
    (1, 1, 1, 500, 5, 72),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_naive(rng, case):
    batch_a, batch_b, batch, m, k, n = case
    a = rng.standard_normal((batch_a, m, k)).astype(np.float32)
    b = rng.standard_normal((batch_b, k, n)).astype(np.float32)
    wanted = np.empty((batch, m, n), np.float32)
    matmul_f32_naive(a, b, wanted)
    got = matmul_f32(a, b, np.full_like(wanted, np.nan))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_a_row_does_not_depend_on_the_others(rng):
    a = rng.standard_normal((1, 37, 50)).astype(np.float32)
    b = rng.standard_normal((1, 50, 21)).astype(np.float32)
    whole = matmul_f32(a, b, np.empty((1, 37, 21), np.float32))
    row = matmul_f32(a[:, 20:21].copy(), b, np.empty((1, 1, 21), np.float32))
    np.testing.assert_array_equal(whole[:, 20:21], row)
