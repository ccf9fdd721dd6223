"""Memory orders."""

import numpy as np

from tnnquant.layers.memory import dense, like, matching, memory_axes, restored, split_at


def _images(channels=5):
    return np.arange(2 * 3 * 4 * channels, dtype=np.float32).reshape(2, 3, 4, channels).transpose(0, 3, 1, 2)


def test_axes_from_slow_to_fast():
    assert memory_axes(np.zeros((2, 3, 4))) == (0, 1, 2)
    assert memory_axes(_images()) == (0, 2, 3, 1)
    assert memory_axes(np.zeros((2, 3)).T) == (1, 0)
    assert memory_axes(np.zeros(())) == ()


def test_dense_copies_only_slices():
    x = _images()
    array, axes = dense(x)
    assert np.shares_memory(array, x)
    np.testing.assert_array_equal(restored(array, axes), x)
    part, axes = dense(x[:, 1:4])
    assert part.flags.c_contiguous
    assert axes == (0, 2, 3, 1)
    np.testing.assert_array_equal(restored(part, axes), x[:, 1:4])


def test_like_keeps_the_order_and_drops_the_gaps():
    assert like(_images()[:, 1:4]).strides == _images(3).strides
    assert like(np.zeros((2, 3))).flags.c_contiguous


def test_matching_brings_an_operand_into_the_order_of_another():
    out = _images()
    x = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    assert matching(x, out).shape == (1, 5, 1, 1)
    full = np.ascontiguousarray(out)
    assert matching(full, out).strides == out.strides
    np.testing.assert_array_equal(matching(full, out), out)


def test_split_around_an_axis():
    x = np.zeros((2, 3, 4, 5))
    assert [split_at(x, i) for i in range(4)] == [(1, 2, 60), (2, 3, 20), (6, 4, 5), (24, 5, 1)]
