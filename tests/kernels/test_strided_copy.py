"""Copies between arrays of any strides against NumPy and the naive kernel."""

import numpy as np
import pytest

from tnnquant.kernels.strided_copy import can_copy, strided_copy, strided_copy_naive, strided_copy_ops

SIZES = (1, 2, 7, 8, 15, 16, 17, 33)


def _check(x, out):
    assert can_copy(x, out)
    strided_copy([(x, out)])
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("dtype", ["f4", "i4", "i1", "f2", "i8"])
def test_transposes(rng, dtype):
    sizes = SIZES if dtype in ("f4", "i1") else (3, 17)
    for rows in sizes:
        for columns in sizes:
            x = (rng.standard_normal((3, rows, columns)) * 50).astype(dtype)
            _check(x.transpose(0, 2, 1), np.empty((3, columns, rows), dtype))
            _check(x, np.empty((3, columns, rows), dtype).transpose(0, 2, 1))
            _check(x, np.empty((3, rows, columns + 2), dtype)[..., 1:-1])


def test_every_order_of_five_axes(rng):
    import itertools

    x = rng.standard_normal((2, 3, 4, 5, 9)).astype(np.float32)
    pairs = []
    for order in itertools.permutations(range(5)):
        view = x.transpose(order)
        pairs.append((view, np.empty(view.shape, np.float32)))
    strided_copy(pairs)
    for view, out in pairs:
        np.testing.assert_array_equal(out, view)


def test_equals_the_naive_kernel(rng):
    x = rng.standard_normal((4, 9, 17)).astype(np.float32).transpose(2, 0, 1)
    fast, naive = np.empty(x.shape, np.float32), np.empty(x.shape, np.float32)
    strided_copy([(x, fast)])
    strided_copy_naive(x, naive)
    np.testing.assert_array_equal(fast, naive)


def test_repeated_and_reversed_axes(rng):
    x = rng.standard_normal((2, 6, 5, 40)).astype(np.float32)
    repeated = np.broadcast_to(x[:, :, None, :, None, :], (2, 6, 3, 5, 2, 40))
    _check(repeated, np.empty(repeated.shape, np.float32))
    _check(x[:, ::-1, ::2, ::-3], np.empty((2, 6, 3, 14), np.float32))
    _check(np.broadcast_to(np.float32([1.5]), (3, 4, 70)), np.empty((3, 4, 70), np.float32))


def test_large_copies_are_cut_into_tasks(rng):
    x = rng.standard_normal((1, 3, 200, 300)).astype(np.float32)
    _check(x.transpose(0, 2, 3, 1), np.empty((1, 200, 300, 3), np.float32))
    _check(x, np.empty((1, 3, 210, 310), np.float32)[:, :, 4:204, 5:305])
    _check(x, np.empty(x.shape, np.float32))


def test_pairs_run_in_order(rng):
    first, second, third = (np.zeros((40, 30), np.float32) for _ in range(3))
    first[:] = rng.standard_normal((40, 30))
    strided_copy([(first, second), (second[::-1], third)])
    np.testing.assert_array_equal(third, first[::-1])


def test_nothing_to_copy():
    empty = np.empty((0, 4), np.float32)
    strided_copy([])
    strided_copy([(empty, empty.copy())])
    assert strided_copy_ops([]).shape[0] == 1


def test_what_it_does_not_take(rng):
    x = np.zeros((2,) * 8, np.float32)[::2, :, ::2, :, ::2, :, ::2]
    seven = np.zeros((4,) * 7, np.float32)[(slice(None, None, 2),) * 7]
    assert can_copy(x, np.empty(x.shape, np.float32))
    assert not can_copy(seven, np.empty(seven.shape, np.float32).transpose(0, 2, 1, 4, 3, 6, 5))
    assert not can_copy(np.zeros((2, 3), np.float32), np.broadcast_to(np.zeros(3, np.float32), (2, 3)))
