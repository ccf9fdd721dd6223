"""PriorBox against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


def line_of(mins, maxs, variances, ratios, image=(0, 0), step=(0, 0), offset=0.5, clip=0):
    lists = [f"{len(values)} {' '.join(map(str, values))}".strip() for values in (mins, maxs, variances, ratios)]
    tail = " ".join(map(str, (*image, *step, offset)))
    return f"{lists[0]} {lists[1]} {clip} 1 {lists[2]} {lists[3]} {tail}"


def boxes_of(got):
    return got[0, 0].reshape(-1, 4), got[0, 1].reshape(-1, 4)


def test_boxes_of_a_cell(run_layer):
    x, image = np.zeros((1, 5, 2, 3), np.float32), np.zeros((1, 3, 40, 60), np.float32)
    line = line_of([10], [22.5], [0.1, 0.1, 0.2, 0.2], [1, 4])
    (got,) = run_layer("PriorBox", line, x, image)
    boxes, variances = boxes_of(got)
    assert got.shape == (1, 2, 2 * 3 * 3 * 4, 1)
    np.testing.assert_allclose(variances, np.tile(np.float32([0.1, 0.1, 0.2, 0.2]), (18, 1)))
    # Cell (y 1, x 2): centre (50, 30) of 60x40; sides 10; sqrt(10 * 22); 10*2 by 10/2.
    for box, (width, height) in zip(boxes[15:], [(10, 10), (220**0.5, 220**0.5), (20, 5)], strict=True):
        wanted = [(50 - width / 2) / 60, (30 - height / 2) / 40, (50 + width / 2) / 60, (30 + height / 2) / 40]
        np.testing.assert_allclose(box, wanted, rtol=1e-6)


def test_sizes_step_and_clip_from_the_parameters(run_layer):
    x = np.zeros((1, 1, 1, 2), np.float32)
    line = line_of([30, 8.9], [], [0.3], [1], image=(40, 20), step=(16, 8), offset=0, clip=1)
    (got,) = run_layer("PriorBox", line, x)
    boxes, variances = boxes_of(got)
    wanted = np.array([[0, 0, 15, 15], [0, 0, 4, 4], [1, 0, 31, 15], [12, 0, 20, 4]]) / [40, 20, 40, 20]
    np.testing.assert_allclose(boxes, wanted, rtol=1e-6)
    np.testing.assert_allclose(variances, np.full((4, 4), 0.3), rtol=1e-6)


def test_number_of_ratios_of_1(run_layer):
    x, image = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 10, 10), np.float32)
    boxes, _ = boxes_of(run_layer("PriorBox", line_of([4], [], [1], [1, 1]), x, image)[0])
    np.testing.assert_allclose(boxes, [[0.3, 0.3, 0.7, 0.7], [0, 0, 0, 0]], rtol=1e-6)
    boxes, _ = boxes_of(run_layer("PriorBox", line_of([4], [], [1], [4]), x, image)[0])
    np.testing.assert_allclose(boxes, [[0.3, 0.3, 0.7, 0.7], [0.1, 0.4, 0.9, 0.6]], rtol=1e-6)


def test_only_1_is_true_on_file():
    layer = find_layer("PriorBox").parse("1 4 0 2 1 1 0.1 1 1 0 0 0 0 0.5".split())
    assert " ".join(layer.tokens()) == "1 4 0 0 1 1 0.1 1 1 0 0 0 0 0.5"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (line_of([4], [5, 6], [1], [1], (9, 9)), "2 max_sizes, expected none or 1"),
        (line_of([4], [], [1, 1], [1], (9, 9)), "2 variances, expected 1 or 4"),
        (line_of([], [], [1], [1], (9, 9)), "expected a size"),
        (line_of([4], [], [1], [-1], (9, 9)), "ratios above 0"),
        (line_of([4], [], [1], [1]), "no image size"),
    ],
)
def test_errors(line, message):
    with pytest.raises(GraphError, match=message):
        find_layer("PriorBox").parse(line.split()).output_specs([BlobSpec((1, 1, 2, 2))], {})
