"""Second moments of codes: tiles, floats and the twin give the same integers."""

import numpy as np
import pytest

from tnnquant.kernels import code_moments as module
from tnnquant.kernels.amx import tiles
from tnnquant.kernels.code_moments import (
    centred_moments,
    centred_moments_naive,
    code_moments,
    code_moments_naive,
    column_sums,
)

#: Windows and columns: less than a tile, one more than a tile, one more than a step; several chunks; several tasks.
SIZES = [(1, 1), (3, 17), (65, 33), (64, 96), (2100, 40), (70, 290)]


def _codes(rng, windows, n):
    codes = rng.integers(-128, 128, (windows, n), dtype=np.int8)
    codes[:, 0] = -128
    return codes


@pytest.mark.parametrize(("windows", "n"), SIZES)
def test_moments_are_those_of_the_twin(rng, windows, n):
    codes, columns = _codes(rng, windows, n), rng.permutation(n)
    wanted = np.zeros((n, n), np.int32)
    code_moments_naive(codes, columns, wanted)
    np.testing.assert_array_equal(np.triu(code_moments(codes, columns)), wanted)


@pytest.mark.parametrize("way", ["_by_floats", pytest.param("_by_tiles", marks=pytest.mark.skipif(
    not tiles(), reason="this instruction path has no tiles"))])  # fmt: skip
def test_both_ways_are_exact(rng, way):
    codes, columns = _codes(rng, 3000, 65), rng.permutation(65)
    moments = np.zeros((65, 65), np.int32)
    getattr(module, way)(codes, columns, moments)
    sorted_codes = codes[:, columns].astype(np.int64)
    np.testing.assert_array_equal(np.triu(moments), np.triu(sorted_codes.T @ sorted_codes))


@pytest.mark.parametrize(("windows", "n"), SIZES)
def test_column_sums(rng, windows, n):
    codes = _codes(rng, windows, n)
    sums, squares = column_sums(codes)
    np.testing.assert_array_equal(sums, codes.sum(axis=0, dtype=np.int64))
    np.testing.assert_array_equal(squares, np.square(codes, dtype=np.int64).sum(axis=0))


def test_no_windows_give_zeros():
    codes = np.zeros((0, 5), np.int8)
    assert not code_moments(codes, np.arange(5)).any()
    assert not column_sums(codes)[1].any()


@pytest.mark.parametrize(("windows", "n"), SIZES)
def test_means_are_taken_off_as_the_twin_does(rng, windows, n):
    codes = _codes(rng, windows, n)
    moments, sums = code_moments(codes, np.arange(n)), codes.sum(axis=0).astype(np.float64)
    wanted = np.zeros((n, n), np.float32)
    centred_moments_naive(moments, sums, windows, wanted)
    np.testing.assert_array_equal(np.triu(centred_moments(moments, sums, windows)), wanted)
