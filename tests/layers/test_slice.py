"""StridedSlice and StridedSliceV2 against NumPy slices."""

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer

INT_MAX, INT_MIN = 2**31 - 1, -(2**31)


def _lists(*lists):
    return " ".join(f"{len(values)} {' '.join(map(str, values))}" for values in lists)


@pytest.mark.parametrize(
    ("dims", "begins", "ends", "strides", "cut"),
    [
        ((1, 5, 6, 7), (0, 1, 2, 0), (1, 4, 5, 7), (1, 1, 1, 1), np.s_[:, 1:4, 2:5]),
        ((2, 3, 8, 9), (0, 0, -6, -5), (2, 3, -1, 0), (1, 1, 2, 2), np.s_[:, :, 2:7:2, 4:9:2]),
        ((1, 4, 5), (0, 1, 1), (1, 3, 5), (1, 1, 2), np.s_[:, 1:3, 1:5:2]),
        ((1, 2, 4, 5, 6), (0, 0, 1, 1, 2), (1, 2, 3, 5, 6), (1, 1, 1, 2, 2), np.s_[:, :, 1:3, 1:5:2, 2:6:2]),
        ((7,), (1,), (0,), (3,), np.s_[1::3]),
        ((3, 4), (0, 0), (99, 2), (1, 1), np.s_[:, :2]),
        ((1, 24, 40, 40), (0, 8, 0, 1), (0, 16, 0, 0), (1, 1, 2, 1), np.s_[:, 8:16, ::2, 1:]),
        ((2, 2, 2, 2, 2, 3), (0, 0, 1, 0, 0, 1), (0, 0, 0, 0, 1, 0), (1, 1, 1, 1, 1, 1), np.s_[:, :, 1:, :, :1, 1:]),
    ],
)
def test_strided_slice(rng, run_layer, dims, begins, ends, strides, cut):
    x = rng.standard_normal(dims).astype(np.float32)
    for value in (x, (x * 100).astype(np.int32)):
        (out,) = run_layer("StridedSlice", _lists(begins, ends, strides), value)
        np.testing.assert_array_equal(out, value[cut])


def test_strided_slice_takes_its_size_from_a_second_blob(rng, run_layer):
    x = rng.standard_normal((1, 4, 8, 9)).astype(np.float32)
    like = np.zeros((1, 4, 5, 3), np.float32)
    line = _lists((0, 0, 1, 2), (0, 0, 0, 0), (1, 1, 1, 1))
    np.testing.assert_array_equal(run_layer("StridedSlice", line, x, like)[0], x[:, :, 1:6, 2:5])


@pytest.mark.parametrize(
    ("dims", "begins", "ends", "axes", "strides", "cut"),
    [
        ((1, 5, 6, 7), (1, 2), (4, 6), (1, 3), (1, 2), np.s_[:, 1:4, :, 2:6:2]),
        ((2, 5, 6, 7), (1,), (INT_MAX,), (2,), (3,), np.s_[:, :, 1::3]),
        ((2, 3, 9), (8,), (1,), (-1,), (-2,), np.s_[..., 8:1:-2]),
        ((2, 6, 3), (1,), (100,), (1,), (2,), np.s_[:, 1::2]),
        ((2, 6), (1,), (5,), (1,), (1,), np.s_[:, 1:5]),
        ((9,), (-3,), (-1,), (0,), (1,), np.s_[-3:-1]),
        ((2, 3, 4, 5), (0, 1), (1, 3), (3, 1), (1, 1), np.s_[:, 1:3, :, 0:1]),  # descending axes
        ((2, 3, 9), (8,), (INT_MIN,), (2,), (-2,), np.s_[..., 8::-2]),  # down to index 0
        ((2, 3, 9), (-1,), (-10,), (2,), (-1,), np.s_[..., ::-1]),
        ((2, 3, 9), (INT_MAX,), (INT_MIN,), (1,), (-1,), np.s_[:, ::-1]),
        ((2, 3, 9), (-100,), (2,), (2,), (1,), np.s_[..., :2]),
        ((1, 16, 40, 40), (0, 4), (8, 30), (1, 2), (1, 1), np.s_[:, :8, 4:30]),
        ((1, 2, 3, 4, 5, 2), (1, 0), (3, 1), (4, 5), (1, 1), np.s_[..., 1:3, :1]),
        ((2, 3), (), (), (), (), np.s_[:]),
    ],
)
def test_strided_slice_v2(rng, run_layer, dims, begins, ends, axes, strides, cut):
    x = rng.standard_normal(dims).astype(np.float32)
    for value in (x, (x * 100).astype(np.int32)):
        (out,) = run_layer("StridedSliceV2", _lists(begins, ends, axes, strides), value)
        np.testing.assert_array_equal(out, value[cut])


def test_begins_and_ends_are_stored_absolute():
    layer = find_layer("StridedSliceV2").parse(_lists((-3, -1), (INT_MAX, INT_MIN), (1, 2), (1, -1)).split())
    resolved = layer.resolved([BlobSpec((1, 8, 5))], {})
    assert (resolved.begins, resolved.ends) == ((5, 4), (8, INT_MIN))


def test_strided_slice_v2_takes_its_lists_from_constants(rng, run_layer):
    x = rng.standard_normal((2, 5, 7)).astype(np.float32)
    lists = [np.array(values, np.int32) for values in ((1, 6), (4, 0), (1, 2), (1, -2))]
    (out,) = run_layer("StridedSliceV2", _lists((), (), (), ()), x, *lists, constant=(1, 2, 3, 4))
    np.testing.assert_array_equal(out, x[:, 1:4, 6:0:-2])
    (out,) = run_layer("StridedSliceV2", _lists((), (), (), ()), x, lists[0][:1], lists[1][:1], constant=(1, 2))
    np.testing.assert_array_equal(out, x[1:4])
    with pytest.raises(GraphError, match="at run time"):
        run_layer("StridedSliceV2", _lists((), (), (), ()), x, *lists)


def test_a_blob_that_turns_out_smaller_is_cut_where_it_ends(rng):
    layer = find_layer("StridedSliceV2").parse(_lists((0,), (INT_MAX,), (0,), (2,)).split())
    layer = layer.resolved([BlobSpec((100, 3))], {})
    x = rng.standard_normal((7, 3)).astype(np.float32)
    np.testing.assert_array_equal(layer.forward([x], None)[0], x[::2])


def test_what_does_not_fit(run_layer):
    x = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(GraphError, match="has 2 begins, 2 ends, 2 strides, expected 3"):
        run_layer("StridedSlice", _lists((0, 0), (0, 0), (1, 1)), x)
    with pytest.raises(GraphError, match="axis 1 of 2x3x4 is empty or runs backwards"):
        run_layer("StridedSlice", _lists((0, 2, 0), (0, 1, 0), (1, 1, 1)), x)
    with pytest.raises(GraphError, match="runs backwards"):
        run_layer("StridedSlice", _lists((0, 2, 0), (0, 3, 0), (1, -1, 1)), x)
    with pytest.raises(GraphError, match="axis 1 of 2x3x4 is empty"):
        run_layer("StridedSliceV2", _lists((2,), (1,), (1,), (1,)), x)
    with pytest.raises(GraphError, match="stride is 0"):
        run_layer("StridedSliceV2", _lists((0,), (1,), (1,), (0,)), x)
    with pytest.raises(GraphError, match="as many of each"):
        run_layer("StridedSliceV2", _lists((0,), (1, 2), (1,), (1,)), x)
    with pytest.raises(GraphError, match="no axis twice"):
        run_layer("StridedSliceV2", _lists((0, 0), (1, 2), (1, -2), (1, 1)), x)
