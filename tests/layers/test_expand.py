"""Expand and Tile against NumPy."""

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


@pytest.mark.parametrize(
    ("dims", "shape", "wanted"),
    [
        ((2, 3, 4), (1, 1, 1), (2, 3, 4)),
        ((1, 1, 1, 1), (1, 5, 2, 3), (1, 5, 2, 3)),
        ((3, 1), (3, 4), (3, 4)),
        ((3, 4), (2, 1, 4), (2, 3, 4)),
        ((1, 3, 1), (-1, -1, 5), (1, 3, 5)),
        ((2, 1, 1, 3), (4, 5, 1), (2, 4, 5, 3)),
        ((4,), (2, 2, 3, 1, 4), (2, 2, 3, 1, 4)),
        ((1, 8, 1, 1), (1, 8, 40, 60), (1, 8, 40, 60)),
        ((2, 3), (), (2, 3)),
        ((2, 1, 3, 1, 2, 1), (1, 4, 1, 2, 1, 3), (2, 4, 3, 2, 2, 3)),
    ],
)
def test_expand(rng, run_layer, dims, shape, wanted):
    x = rng.standard_normal(dims).astype(np.float32)
    line = f"{len(shape)} {' '.join(map(str, shape))}"
    for value in (x, (x * 100).astype(np.int32), (x * 30).astype(np.int8)):
        (out,) = run_layer("Expand", line, value)
        np.testing.assert_array_equal(out, np.broadcast_to(value, wanted))
        assert out.flags.writeable


def test_an_axis_that_does_not_fit_keeps_the_longer_side_and_is_read_modulo(run_layer):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(run_layer("Expand", "2 5 2", x)[0], x)
    (out,) = run_layer("Expand", "3 1 4 5", x)
    np.testing.assert_array_equal(out, x[np.arange(4) % 2][None, :, np.arange(5) % 3])


def test_the_shape_may_be_a_constant(rng, run_layer):
    x = rng.standard_normal((1, 3, 1)).astype(np.float32)
    (out,) = run_layer("Expand", "0", x, np.array([2, 3, 4], np.int32), constant=(1,))
    np.testing.assert_array_equal(out, np.broadcast_to(x, (2, 3, 4)))
    # Not folded, TNN ignores it.
    (out,) = run_layer("Expand", "0", x, np.array([2, 3, 4], np.int32))
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("kind", ["Tile", "Repeat"])
@pytest.mark.parametrize(
    ("dims", "reps"),
    [
        ((1, 3, 2, 5), (1, 2, 3, 1)),
        ((2, 3), (2, 2)),
        ((3, 4), (2, 1, 1)),
        ((2, 3, 2, 2), (2, 1)),
        ((5,), (3,)),
        ((2, 3), ()),
        ((1, 16, 20, 30), (2, 1, 2, 2)),
        ((2, 1, 2, 2, 3), (1, 2, 3, 1, 2)),
        ((2, 2, 1, 2, 1, 3), (2, 1, 2, 1, 1, 2)),
    ],
)
def test_tile(rng, run_layer, kind, dims, reps):
    x = rng.standard_normal(dims).astype(np.float32)
    for value in (x, (x * 100).astype(np.int32)):
        (out,) = run_layer(kind, " ".join(map(str, reps)), value)
        np.testing.assert_array_equal(out, np.tile(value, reps))


def test_negative_dims():
    with pytest.raises(GraphError, match="the output would have the dims"):
        find_layer("Tile").parse(["-1"]).output_specs([BlobSpec((2, 3))], {})
    with pytest.raises(GraphError, match="the output would have the dims"):
        find_layer("Expand").parse(["2", "-5", "3"]).output_specs([BlobSpec((3,))], {})
