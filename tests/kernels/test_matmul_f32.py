"""The matrix product kernel against its naive twin."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.kernels import program
from tnnquant.kernels.matmul_f32 import matmul_f32, matmul_f32_naive, matmul_f32_op

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


@pytest.mark.parametrize(("rows", "length", "columns"), [(197, 197, 64), (281, 20, 64), (113, 33, 5), (449, 9, 33)])
def test_one_product_is_shared_out_by_rows_to_the_same_bits(rng, monkeypatch, rows, length, columns):
    a = rng.standard_normal((1, rows, length)).astype(np.float32)
    b = rng.standard_normal((1, length, columns)).astype(np.float32)
    results, tasks = set(), []
    for threads in (1, 2, 5, 8):
        out = np.full((1, rows, columns), np.nan, np.float32)
        with monkeypatch.context() as patch:
            patch.setattr(program, "thread_count", lambda threads=threads: threads)
            op = matmul_f32_op(a, b, out)
        program.run(op)
        tasks.append(int(op[0, 1]))
        results.add(out.tobytes())
    assert len(results) == 1
    assert tasks[1] >= 2
