"""What a layer adds up, exactly, for given weights."""

import numpy as np
import pytest

from tnnquant.graph.infer import infer
from tnnquant.recipes.best.layer_input import LayerInput


@pytest.mark.parametrize(("groups", "channels", "count"), [(1, 3, 5), (4, 4, 4), (4, 4, 8), (2, 4, 6), (1, 150, 2)])
def test_sums_are_those_of_the_convolution(build, rng, groups, channels, count):
    net = build(dims=(1, channels, 7, 6))
    net.conv("input", channels, count, groups=groups, name="a")
    node = infer(net.graph("a_out")).graph.node("a")
    arrays = [rng.integers(-128, 128, (1, channels, 7, 6)).astype(np.int8) for _ in range(2)]
    weight = rng.integers(-127, 128, (count, channels // groups, 3, 3)).astype(np.int8)
    found = LayerInput(node, np.concatenate(arrays), (1, count, 7, 6), 5, outputs=42).sums(weight)
    wide = [np.pad(array[0].astype(np.int64), ((0, 0), (1, 1), (1, 1))) for array in arrays]
    wanted = np.zeros((count, 2, 7, 6), np.int64)
    for out in range(count):
        first = out // (count // groups) * (channels // groups)
        for row in range(3):
            for column in range(3):
                for number, x in enumerate(wide):
                    part = x[first : first + channels // groups, row : row + 7, column : column + 6]
                    wanted[out, number] += np.einsum("c,chw->hw", weight[out, :, row, column].astype(np.int64), part)
    np.testing.assert_array_equal(found, wanted.reshape(count, -1))


def test_outputs_at_the_windows_of_all_items(build, rng):
    """A network may make several items of one on the way: each has its places."""
    from tnnquant.recipes.best.patches import outputs_at, windows_of

    net = build((1, 3, 6, 5))
    graph = net.graph(net.conv("input", 3, 4, 1, name="a"))
    node = graph.node("a")
    weight = node.layer.weight_array(node.tensors).reshape(4, 3)
    x = rng.standard_normal((3, 3, 6, 5)).astype(np.float32)
    y = np.einsum("ok,nkhw->nohw", weight, x)
    windows = windows_of(node, x, (3, 4, 6, 5), 7)
    assert outputs_at(node, y, 7) == pytest.approx(windows[:, 0] @ weight.T, rel=1e-5, abs=1e-6)
    assert outputs_at(node, y[1:2], 7).tobytes() == outputs_at(node, y, 7)[7:14].tobytes()
