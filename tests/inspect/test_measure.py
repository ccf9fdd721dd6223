"""Figures from sums."""

import numpy as np

from tnnquant.inspect.measure import ErrorSums, as_rows


def test_figures(rng):
    a = rng.standard_normal((40, 3)).astype(np.float32)
    b = (a + rng.standard_normal((40, 3)) * [0.1, 0.2, 0.4]).astype(np.float32)
    sums = ErrorSums(3)
    sums.add(a[:10], b[:10])
    sums.add(a[10:], b[10:])
    noise = (a.astype(float) - b) ** 2
    np.testing.assert_allclose(sums.sqnr_db, 10 * np.log10((a.astype(float) ** 2).sum() / noise.sum()))
    np.testing.assert_allclose(sums.cosine, np.dot(a.ravel(), b.ravel()) / np.linalg.norm(a) / np.linalg.norm(b), 1e-6)
    scale = np.array([0.1, 0.2, 0.4], np.float32)
    np.testing.assert_allclose(sums.rmse_steps(scale), np.sqrt((noise / scale.astype(float) ** 2).mean()), 1e-6)
    np.testing.assert_allclose(sums.channel_db(), 10 * np.log10((a.astype(float) ** 2).sum(0) / noise.sum(0)))
    assert len(sums.per_sample) == 2


def test_equal_zero_and_dead():
    ones, zeros = np.ones((4, 2), np.float32), np.zeros((4, 2), np.float32)
    same, lost, none = ErrorSums(2), ErrorSums(2), ErrorSums(2)
    same.add(ones, ones)
    lost.add(ones, zeros)
    none.add(zeros, zeros)
    assert (same.sqnr_db, same.cosine) == (160, 1)
    assert (lost.sqnr_db, lost.cosine) == (0, 0)
    assert (none.sqnr_db, none.cosine) == (160, 1)
    assert np.isnan(none.channel_db()).all()
    assert lost.rmse_steps(np.array([0.5, 0], np.float32)) == 2


def test_rows_of_channels(rng):
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(as_rows(x), x.transpose(0, 2, 3, 1).reshape(-1, 3))
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.shares_memory(as_rows(last), last)
    np.testing.assert_array_equal(as_rows(x[:, :, 0]), x[:, :, 0].transpose(0, 2, 1).reshape(-1, 3))
    assert as_rows(x[0, 0]).shape == (4, 5)
    assert as_rows(x[0, 0, 0]).shape == (5, 1)
