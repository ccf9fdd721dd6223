"""TNN's broadcasting, and the operations of two arrays in every layout."""

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.elementwise import (
    arithmetic,
    check_broadcast,
    left_maximum,
    mapped,
    right_maximum,
    spread,
    stretched,
)


def test_maxima_of_dims():
    assert right_maximum([(3, 1, 2), (2, 1, 4, 2)]) == (2, 3, 4, 2)
    assert right_maximum([(), (2, 3), (4, 1, 1)]) == (4, 2, 3)
    assert left_maximum([(2, 3, 4), (4,)]) == (4, 3, 4)
    assert left_maximum([(5,), (2, 3)]) == (5, 3)


def test_stretched_repeats_the_last_element_and_cuts_off():
    x = np.array([[1, 2, 3]])
    assert stretched(x, (2, 5)).tolist() == [[1, 2, 3, 3, 3]]
    assert stretched(x, (2, 2)).tolist() == [[1, 2]]
    assert stretched(x, (4, 2, 3)) is x
    with pytest.raises(GraphError, match=r"an operand is empty \(0x3\), the output is 2x3"):
        stretched(np.zeros((0, 3)), (2, 3))


def test_check_broadcast():
    check_broadcast((2, 3, 1), (3, 4))
    with pytest.raises(GraphError, match="operands of 2x3 and 2x4"):
        check_broadcast((2, 3), (2, 4))


def test_spread():
    x = np.ones((2, 3))
    assert spread(x, (2, 3)) is x
    assert spread(x[:1], (2, 3)).flags.writeable


@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL", "DIV"])
def test_arithmetic_of_all_layouts(rng, name):
    ufunc = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide}[name]
    first = rng.standard_normal((2, 5, 3, 4)).astype(np.float32)
    last = np.ascontiguousarray(first.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) + np.float32(1)
    wide = rng.standard_normal((2, 3, 4, 9)).astype(np.float32)[..., 2:7].transpose(0, 3, 1, 2)
    row, image = first[0, 0, 0], first[:, :1]
    for a in (first, last, wide, row, image):
        for b in (first, last, wide, row, image):
            np.testing.assert_array_equal(arithmetic(name, a, b), ufunc(a, b))
    assert arithmetic(name, last, first).strides == last.strides


def test_more_axes_than_a_kernel_has_loops(rng):
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 1, 3, 1, 3), (1, 3, 1, 3, 1)))
    np.testing.assert_array_equal(arithmetic("ADD", a, b), a + b)


def test_empty_arrays():
    x = np.zeros((0, 3), np.float32)
    assert arithmetic("ADD", x, x).shape == (0, 3)
    assert mapped(x, "SIGMOID").shape == (0, 3)
