"""Shape, Size, Range and ConstantOfShape."""

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


@pytest.mark.parametrize("dims", [(3,), (2, 3, 4, 5), (1, 2, 3, 1, 2, 2)])
def test_shape_and_size(run_layer, dims):
    x = np.zeros(dims, np.float32)
    assert run_layer("Shape", "", x)[0].tolist() == list(dims)
    assert run_layer("Size", "", x)[0].tolist() == [x.size]
    (spec,) = find_layer("Shape").parse([]).output_specs([BlobSpec(dims)], {})
    assert spec.value.tolist() == list(dims)
    assert find_layer("Shape").FOLDS_SHAPE


@pytest.mark.parametrize(
    ("start", "limit", "delta", "wanted"),
    [
        (0.5, 3.5, 0.5, [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]),
        (5.0, -1.0, -1.75, [5.0, 3.25, 1.5, -0.25]),
        (0.0, 1.0, 0.3, [0.0, 0.3, 0.6, 0.9]),
        (1.0, 0.0, 1.0, []),
        (0, 5, 1, [0, 1, 2, 3, 4]),
        (5, -2, -2, [5, 3, 1]),  # the count is a cut-off integer division
        (0, 5, 2, [0, 2]),
        (3, 3, 1, []),
        (3, 0, 1, []),
    ],
)
def test_range(run_layer, start, limit, delta, wanted):
    dtype = np.float32 if isinstance(start, float) else np.int32
    inputs = [np.array([v], dtype) for v in (start, limit, delta)]
    (out,) = run_layer("Range", "", *inputs, constant=(0, 1, 2))
    assert out.dtype == dtype
    np.testing.assert_allclose(out, np.array(wanted, dtype), rtol=1e-6)


def test_range_that_does_not_fit(run_layer):
    one, zero = np.ones(1, np.int32), np.zeros(1, np.int32)
    with pytest.raises(GraphError, match="delta is 0"):
        run_layer("Range", "", zero, one, zero, constant=(0, 1, 2))
    with pytest.raises(GraphError, match="has no end"):
        run_layer("Range", "", *(np.array([v], np.float32) for v in (0, np.inf, 1)), constant=(0, 1, 2))
    with pytest.raises(GraphError, match="three inputs of one element"):
        run_layer("Range", "", zero, np.ones(2, np.int32), one, constant=(0, 1, 2))
    with pytest.raises(GraphError, match="at run time"):
        run_layer("Range", "", zero, one, one, constant=(0, 1))
    with pytest.raises(GraphError, match="has 2 inputs"):
        run_layer("Range", "", zero, one, constant=(0, 1))


@pytest.mark.parametrize("value", [np.array([1.5], np.float32), np.array([-7], np.int32), None])
@pytest.mark.parametrize("dims", [(2, 3, 4), (5,), (1, 2, 2, 1, 3)])
def test_constant_of_shape(run_layer, dims, value):
    tensors = {} if value is None else {"value": value}
    (out,) = run_layer("ConstantOfShape", "", np.array(dims, np.int32), tensors=tensors, constant=(0,))
    wanted = np.zeros(dims, np.float32) if value is None else np.full(dims, value[0])
    assert out.dtype == wanted.dtype
    np.testing.assert_array_equal(out, wanted)


def test_constant_of_shape_that_does_not_fit(run_layer):
    with pytest.raises(GraphError, match="at run time"):
        run_layer("ConstantOfShape", "", np.array([2], np.int32))
    with pytest.raises(GraphError, match="would have the dims 2x-3"):
        run_layer("ConstantOfShape", "", np.array([2, -3], np.int32), constant=(0,))
    with pytest.raises(GraphError, match="would have the dims"):
        run_layer("ConstantOfShape", "", np.array([2**30, 2**30], np.int32), constant=(0,))
    tensors = {"value": np.zeros(2, np.float32)}
    with pytest.raises(GraphError, match="has 2 elements"):
        run_layer("ConstantOfShape", "", np.array([2], np.int32), tensors=tensors, constant=(0,))
