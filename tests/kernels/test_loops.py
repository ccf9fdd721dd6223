"""Merging the axes of strided arrays."""

import numpy as np

from tnnquant.kernels.loops import loop_nest


def test_dense_arrays_are_one_row():
    x = np.zeros((2, 3, 4, 5), np.float32)
    last = x.transpose(0, 3, 1, 2)
    assert loop_nest(x, x) == ((1, 1, 120), ((0, 0, 4), (0, 0, 4)))
    assert loop_nest(last, last) == ((1, 1, 120), ((0, 0, 4), (0, 0, 4)))
    assert loop_nest(np.zeros((), np.float32)) == ((1, 1, 1), ((0, 0, 4),))


def test_slices_and_repeated_operands_are_rows():
    wide = np.zeros((2, 3, 4, 9), np.float32)[..., :5]
    row = np.broadcast_to(np.zeros(5, np.float32), wide.shape)
    assert loop_nest(wide, row) == ((1, 24, 5), ((0, 36, 4), (0, 0, 4)))
    plane = np.broadcast_to(np.zeros((2, 1, 1, 5), np.float32), wide.shape)
    assert loop_nest(wide, plane) == ((2, 12, 5), ((432, 36, 4), (20, 0, 4)))
    column = np.broadcast_to(np.zeros((2, 3, 4, 1), np.float32), wide.shape)
    assert loop_nest(wide, column) == ((1, 24, 5), ((0, 36, 4), (0, 4, 0)))


def test_what_does_not_fit():
    x = np.zeros((3, 4), np.float32)
    assert loop_nest(x, x.reshape(4, 3).T) is None
    assert loop_nest(x[:, ::2]) is None
    assert loop_nest(x[:0]) is None
    deep = np.zeros((3, 3, 3, 3, 3), np.float32)
    assert loop_nest(deep, np.broadcast_to(np.zeros((3, 1, 3, 1, 3), np.float32), deep.shape)) is None
