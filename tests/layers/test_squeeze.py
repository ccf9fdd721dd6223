"""Squeeze and Unsqueeze: dims and content."""

import numpy as np
import pytest

from tnnquant.errors import GraphError


@pytest.mark.parametrize(
    ("dims", "line", "wanted"),
    [
        ((2, 1, 3), "1 1", (2, 3)),
        ((2, 3, 1), "1 -1", (2, 3)),
        ((1, 2, 1, 3, 1), "3 0 2 4", (2, 3)),
        ((2, 1, 1), "2 -1 -2", None),  # from the last entry: axis 1 goes, then the last of (2, 1)
        ((1, 2, 1, 3), "0", (1, 2, 1, 3)),
        ((1, 2, 1, 3), "", (1, 2, 1, 3)),
        ((1,), "1 0", ()),
        ((1, 4, 1, 5), "1 2", (1, 4, 5)),
        ((2, 3, 1, 1), "2 2 3", (2, 3)),
    ],
)
def test_squeeze(rng, run_layer, dims, line, wanted):
    x = rng.standard_normal(dims).astype(np.float32)
    wanted = (2,) if wanted is None else wanted
    for value in (x, (x * 30).astype(np.int32), (x * 30).astype(np.int8)):
        np.testing.assert_array_equal(run_layer("Squeeze", line, value)[0], value.reshape(wanted))


@pytest.mark.parametrize(
    ("dims", "line", "wanted"),
    [
        ((3, 5), "2 0 3", (1, 3, 5, 1)),
        ((2, 3), "1 -1", (2, 3, 1)),
        ((2, 3), "1 -3", (1, 2, 3)),
        ((2, 3, 4), "2 1 1", (2, 1, 1, 3, 4)),
        ((2, 3), "0", (2, 3)),
        ((), "1 0", (1,)),
        ((2, 3, 4, 5), "2 2 -1", (2, 3, 1, 4, 5, 1)),
    ],
)
def test_unsqueeze(rng, run_layer, dims, line, wanted):
    x = np.asarray(rng.standard_normal(dims), np.float32)
    for value in (x, (x * 30).astype(np.int32), (x * 30).astype(np.int8)):
        np.testing.assert_array_equal(run_layer("Unsqueeze", line, value)[0], value.reshape(wanted))


def test_what_does_not_fit(run_layer):
    x = np.zeros((2, 1, 3), np.float32)
    with pytest.raises(GraphError, match="axis 0 of 2x1x3 is 2"):
        run_layer("Squeeze", "1 0", x)
    with pytest.raises(GraphError, match="axis is 3"):
        run_layer("Squeeze", "1 3", x)
    with pytest.raises(GraphError, match="axis is 4"):
        run_layer("Unsqueeze", "1 4", x)
