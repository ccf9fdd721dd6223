"""SplitV against NumPy."""

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


@pytest.mark.parametrize(
    ("dims", "axis", "sizes"),
    [
        ((2, 9, 2, 2), 1, (1, 3, 5)),
        ((4, 3), 0, (1, 3)),
        ((1, 2, 3, 6, 2), 3, (2, 2, 2)),
        ((2, 7), -1, (3, 4)),
        ((6,), 0, (6,)),
        ((1, 64, 20, 20), 1, (32, 32)),
        ((1, 64, 20, 20), 3, (1, 0, 19)),
        ((2, 2, 2, 2, 2, 4), 5, (1, 3)),
    ],
)
def test_sizes(rng, run_layer, dims, axis, sizes):
    x = rng.standard_normal(dims).astype(np.float32)
    for value in (x, (x * 100).astype(np.int32)):
        outs = run_layer("SplitV", f"{axis} {len(sizes)} {' '.join(map(str, sizes))}", value, outputs=len(sizes))
        for out, wanted in zip(outs, np.split(value, np.cumsum(sizes[:-1]), axis), strict=True):
            np.testing.assert_array_equal(out, wanted)


def test_without_sizes_the_pieces_are_equal(rng, run_layer):
    x = rng.standard_normal((1, 6, 2, 3)).astype(np.float32)
    for out, wanted in zip(run_layer("SplitV", "1 0", x, outputs=3), np.split(x, 3, 1), strict=True):
        np.testing.assert_array_equal(out, wanted)
    with pytest.raises(GraphError, match="axis 1 of 1x6x2x3 cannot be cut into 4"):
        run_layer("SplitV", "1 0", x, outputs=4)


def test_axis_and_sizes_are_stored():
    layer = find_layer("SplitV").parse(["-2", "0"]).with_outputs(2).resolved([BlobSpec((1, 4, 6))], {})
    assert layer.tokens() == ["1", "2", "2", "2"]


def test_what_does_not_fit(run_layer):
    x = np.zeros((2, 5), np.float32)
    with pytest.raises(GraphError, match=r"\[2, 2\] do not add up to dim 1 of 2x5"):
        run_layer("SplitV", "1 2 2 2", x, outputs=2)
    with pytest.raises(GraphError, match="do not add up"):
        run_layer("SplitV", "1 2 7 -2", x, outputs=2)
    with pytest.raises(GraphError, match="axis is 2"):
        run_layer("SplitV", "2 1 5", x)


def test_split_is_known_but_cannot_be_run():
    kind = find_layer("Split")
    assert not kind.runnable()
    assert "no kernel for Split" in kind.WHY_NOT
