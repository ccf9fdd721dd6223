"""NonMaxSuppression against the definition, and the shared kernel's two rules."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.errors import GraphError, ModelFormatError
from tnnquant.layers.base import BlobSpec, find_layer
from tnnquant.layers.nms import best_first, kept_boxes


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared) if shared else 0


def naive(corners, scores, most, iou, score):
    """Rows (image, class, box)."""
    rows = []
    for image, label in np.ndindex(*scores.shape[:2]):
        kept = []
        for box in sorted(range(scores.shape[2]), key=lambda i: (-scores[image, label, i], i)):
            good = scores[image, label, box] > score and len(kept) < most
            if good and all(overlap(corners[image, k], corners[image, box]) <= iou for k in kept):
                kept.append(box)
        rows += [(image, label, box) for box in kept]
    return np.array(rows, np.int32).reshape(-1, 3)


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize(("most", "iou", "score"), [(5, 0.3, 0.2), (2**63 - 1, 0.0, 0.0), (3, 0.9, 0.5), (0, 0.5, 0)])
def test_values(rng, center, most, iou, score):
    middle, size = rng.uniform(0, 10, (2, 30, 2)), rng.uniform(1, 5, (2, 30, 2))
    corners = np.concatenate([middle - size / 2, middle + size / 2], -1).astype(np.float32)
    if center:
        boxes = np.concatenate([middle, size], -1).astype(np.float32)
    else:
        boxes = corners[..., [1, 0, 3, 2]].copy()
        boxes[:, ::2] = boxes[:, ::2][..., [2, 1, 0, 3]]  # two corners in any order
    scores = rng.uniform(0, 1, (2, 3, 30)).astype(np.float32).round(1)  # with ties
    layer = find_layer("NonMaxSuppression").parse(f"{center} {most} {iou} {score}".split())
    (got,) = layer.forward([boxes, scores], None)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, naive(corners, scores, most, np.float32(iou), np.float32(score)))
    (spec,) = layer.output_specs([BlobSpec(boxes.shape), BlobSpec(scores.shape)], {})
    assert spec.dtype == DataType.INT32
    assert len(got) <= spec.dims[0]


def test_boxes_without_area():
    boxes = np.array([[0, 0, 4, 4], [1, 1, 1, 3], [1, 1, 3, 3]], np.float32)
    order = np.arange(3)
    np.testing.assert_array_equal(kept_boxes(boxes, order, 0.2), [0, 1])
    np.testing.assert_array_equal(kept_boxes(boxes, order, 0.3), [0, 1, 2])
    np.testing.assert_array_equal(kept_boxes(boxes, order, 0.3, most=1), [0])


def test_eta_lowers_the_threshold():
    # Every next box overlaps the first by 0.6.
    boxes = np.array([[0, 0, 10, 10], [0, 0, 6, 10], [0, 4, 10, 10]], np.float32)
    np.testing.assert_array_equal(kept_boxes(boxes, np.arange(3), 0.7, is_lenient=False), [0, 1, 2])
    np.testing.assert_array_equal(kept_boxes(boxes, np.arange(3), 0.7, is_lenient=False, eta=0.9), [0, 1])
    np.testing.assert_array_equal(kept_boxes(boxes, np.arange(3), 0.7, is_lenient=False, eta=0.5), [0])


def test_best_first_is_stable():
    scores = np.array([0.5, 0.9, np.nan, 0.5, 0.1, 0.9], np.float32)
    np.testing.assert_array_equal(best_first(scores, 0.1), [1, 5, 0, 3])


def test_sixty_four_bits_on_file():
    line = "0 9223372036854775807 0.5 0.25"
    assert " ".join(find_layer("NonMaxSuppression").parse(line.split()).tokens()) == line
    for token in ("9223372036854775808", "many"):
        with pytest.raises(ModelFormatError, match="expected an integer of 64 bits"):
            find_layer("NonMaxSuppression").parse(["0", token])
    assert find_layer("NonMaxSuppression").parse([]).max_output_boxes_per_class == 0


def test_errors():
    layer = find_layer("NonMaxSuppression").parse("0 3 0.5 0".split())
    with pytest.raises(GraphError, match="expected \\(N, B, 4\\)"):
        layer.output_specs([BlobSpec((1, 5, 4)), BlobSpec((1, 2, 6))], {})
    with pytest.raises(GraphError, match="is -1, expected at least 0"):
        find_layer("NonMaxSuppression").parse("0 -1".split()).output_specs(
            [BlobSpec((1, 5, 4)), BlobSpec((1, 2, 5))], {}
        )
