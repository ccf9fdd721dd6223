"""Figures against their definitions in plain NumPy."""

import numpy as np
import pytest

from tnnquant.verdict.figures import OutputSums, cosine_of, decibels


def shown(rng, pictures=5, rows=3, n=40, noise=0.1):
    sums = OutputSums(rows)
    wanted = rng.standard_normal((pictures, rows, n)) + 3
    got = wanted + noise * rng.standard_normal(wanted.shape)
    for a, b in zip(wanted, got, strict=True):
        sums.add(a.astype(np.float32), b.astype(np.float32))
    return sums, wanted, got


def test_figures_of_rows_and_of_the_whole(rng):
    sums, wanted, got = shown(rng)
    for part, rows in ((slice(None), [0, 1, 2]), (slice(1, 3), [1, 2]), (np.array([2]), [2])):
        a, b = wanted[:, rows].ravel(), got[:, rows].ravel()
        figures = sums.figures(part)
        assert figures.cosine == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-6)
        assert figures.sqnr_db == pytest.approx(10 * np.log10((a @ a) / ((a - b) @ (a - b))), abs=1e-4)
        centred = wanted[:, rows] - wanted[:, rows].mean(0)
        signal = (centred**2).sum() * 5 / 4  # as of as many pictures as there are: the mean took one
        assert figures.contrast_db == pytest.approx(10 * np.log10(signal / ((a - b) @ (a - b))), abs=1e-3)
        assert figures.peak == pytest.approx(np.abs(a).max(), rel=1e-6)
        assert figures.largest_error == pytest.approx(np.abs(a - b).max(), rel=1e-5)


def test_mean_cosine_is_of_pictures(rng):
    sums, wanted, got = shown(rng)
    each = [a.ravel() @ b.ravel() / np.sqrt((a**2).sum() * (b**2).sum()) for a, b in zip(wanted, got, strict=True)]
    assert sums.mean_cosine == pytest.approx(np.mean(each), abs=1e-6)


def test_an_output_that_ignores_its_input_has_a_fine_cosine_and_no_contrast(rng):
    face = rng.standard_normal((1, 100)) * 10
    sums = OutputSums(1)
    for _ in range(8):
        sums.add(face + rng.standard_normal(face.shape), face)
    figures = sums.figures()
    assert figures.cosine > 0.99
    assert abs(figures.contrast_db) < 1


def test_one_picture_or_the_same_picture_has_no_contrast(rng):
    picture = rng.standard_normal((2, 10))
    sums = OutputSums(2)
    sums.add(picture, picture + 0.01)
    assert sums.figures().contrast_db is None
    sums.add(picture, picture + 0.01)
    assert sums.figures().contrast_db is None


def test_ends_of_the_scale():
    assert (decibels(1, 0), decibels(0, 0), decibels(0, 1)) == (120, 120, -120)
    assert decibels(100, 1) == pytest.approx(20)
    assert (cosine_of(0, 0, 0), cosine_of(0, 1, 0), cosine_of(-2, 2, 2)) == (1, 0, -1)


def test_nan_of_int8_is_counted_and_left_out(rng):
    sums = OutputSums(1)
    sums.add(np.ones((1, 3)), np.array([[1, np.nan, 1]]))
    assert (sums.pictures, sums.nonfinite, sums.mean_cosine) == (0, 1, 0)
