"""DetectionOutput and DetectionPostProcess against a direct reading of the definition."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer
from tnnquant.layers.detection import decode_boxes


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared) if shared else 0


def suppressed(boxes, scores, threshold, top_k, iou):
    """Indices kept of one class."""
    order = [i for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)) if scores[i] > threshold]
    kept = []
    for i in order[:top_k]:
        if all(overlap(boxes[k], boxes[i]) <= iou for k in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize(
    ("code_type", "wanted"),
    [
        (1, [[0.2 + 0.2, 0.2 + 0.05, 0.6 + 0.1, 0.8 + 0.2]]),
        # centre 0.4 + 0.2*0.4 and 0.5 + 0.1*0.6, size 0.4*e**0.2 and 0.6*e**0.2
        (2, [[0.48 - 0.2 * np.exp(0.1), 0.53 - 0.3 * np.exp(0.2), 0.48 + 0.2 * np.exp(0.1), 0.53 + 0.3 * np.exp(0.2)]]),
        (3, [[0.2 + 0.2 * 0.4, 0.2 + 0.05 * 0.6, 0.6 + 0.1 * 0.4, 0.8 + 0.2 * 0.6]]),
    ],
)
def test_decoding(code_type, wanted):
    prior = np.array([[0.2, 0.2, 0.6, 0.8]], np.float32)
    variance = np.array([[0.1, 0.1, 0.2, 0.2]], np.float32)
    code = np.array([[2, 0.5, 0.5, 1]], np.float32)
    np.testing.assert_allclose(decode_boxes(code, prior, variance, code_type), wanted, rtol=1e-6)


def head(rng, images, priors, classes, places):
    corner, size = rng.uniform(0, 0.7, (priors, 2)), rng.uniform(0.1, 0.3, (priors, 2))
    boxes = np.concatenate([corner, corner + size], 1)
    table = np.stack([boxes.reshape(-1), np.full(priors * 4, 0.1)])[None, ..., None]
    return [
        rng.standard_normal((images, priors * places * 4, 1, 1)).astype(np.float32),
        rng.uniform(0, 1, (images, priors * classes, 1, 1)).astype(np.float32),
        table.astype(np.float32),
    ]


@pytest.mark.parametrize("code_type", [1, 2, 3])
@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("keep", [-1, 7, 100])
def test_detection_output(rng, share, keep, code_type):
    images, priors, classes = 2, 20, 3
    inputs = head(rng, images, priors, classes, 1 if share else classes)
    layer = find_layer("DetectionOutput").parse(f"{classes} {share} 0 0 {code_type} {keep} 0.3 0.4 15 1".split())
    (got,) = layer.forward(inputs, None)
    table = inputs[2].reshape(2, priors, 4)
    rows = []
    for image in range(images):
        codes = inputs[0][image].reshape(priors, -1, 4)
        scores = inputs[1][image].reshape(priors, classes)
        found = []
        for label in range(1, classes):
            boxes = decode_boxes(codes[:, 0 if share else label], table[0], table[1], code_type)
            found += [
                (image, label, scores[i, label], *boxes[i])
                for i in suppressed(boxes, scores[:, label], 0.3, 15, np.float32(0.4))
            ]
        if -1 < keep < len(found):
            found = sorted(sorted(found, key=lambda row: -row[2])[:keep], key=lambda row: (row[1], -row[2]))
        rows += found
    assert got.shape == (1, 1, len(rows), 7)
    np.testing.assert_allclose(got[0, 0], rows, rtol=0, atol=1e-6)


def test_nothing_found(rng):
    inputs = head(rng, 3, 5, 2, 1)
    layer = find_layer("DetectionOutput").parse("2 1 0 0 2 10 2.0 0.5 10 1".split())
    (got,) = layer.forward(inputs, None)
    assert got.shape == (1, 1, 3, 7)
    np.testing.assert_array_equal(got[0, 0, :, 0], [0, 1, 2])
    assert (got[0, 0, :, 1:] == -1).all()


def test_objectness_and_refined_priors(rng):
    inputs = head(rng, 1, 6, 2, 1)
    first = rng.standard_normal((1, 24, 1, 1)).astype(np.float32)
    objectness = np.tile(np.float32([0.5, 0.5]), 6).reshape(1, 12, 1, 1)
    objectness[0, 1::4] = 0.05  # the second value of every other prior
    layer = find_layer("DetectionOutput").parse("2 1 0 0 2 100 0.0 1.0 100 1".split())
    (got,) = layer.forward([*inputs, objectness, first], None)
    table = inputs[2].reshape(2, 6, 4)
    refined = decode_boxes(first.reshape(6, 4), table[0], table[1], 2)
    boxes = decode_boxes(inputs[0].reshape(6, 4), refined, table[1], 2)
    scores = inputs[1].reshape(6, 2)[:, 1]
    wanted = sorted((i for i in range(1, 6, 2)), key=lambda i: -scores[i])
    np.testing.assert_allclose(got[0, 0, :, 2], scores[wanted])
    np.testing.assert_allclose(got[0, 0, :, 3:], boxes[wanted], rtol=1e-5)


def test_detection_output_errors(rng):
    inputs = head(rng, 1, 6, 2, 1)
    specs = [BlobSpec(x.shape) for x in inputs]

    def check(line, specs=specs):
        return find_layer("DetectionOutput").parse(line.split()).output_specs(specs, {})

    assert check("2 1 0 0 2 10 0 0.5 10 1")[0].dims == (1, 1, 10, 7)
    with pytest.raises(GraphError, match="the locations have the dims"):
        check("2 0 0 0 2 10 0 0.5 10 1")
    with pytest.raises(GraphError, match="the scores have the dims"):
        check("3 1 0 0 2 10 0 0.5 10 1")
    with pytest.raises(GraphError, match="the priors have the dims"):
        check("2 1 0 0 2 10 0 0.5 10 1", [*specs[:2], BlobSpec((1, 1, 24, 1))])


def post_process(rng, anchors, classes, **changes):
    values = {
        "max_detections": 4, "max_classes_per_detection": 1, "detections_per_class": 100, "use_regular_nms": 0,
        "score": 0.3, "iou": 0.5, "num_classes": classes, "y": 10.0, "x": 10.0, "h": 5.0, "w": 5.0, "has_anchors": 1,
        "num_anchors": anchors, "coords": 4,
    }  # fmt: skip
    layer = find_layer("DetectionPostProcess").parse([str(value) for value in {**values, **changes}.values()])
    codes = rng.standard_normal((1, 4, anchors, 1)).astype(np.float32)
    scores = rng.uniform(0, 1, (1, classes + 1, anchors, 1)).astype(np.float32)
    table = rng.uniform(0.1, 0.6, (anchors, 4)).astype(np.float32)
    return layer, codes, scores, table


@pytest.mark.parametrize("most", [1, 2])
def test_detection_post_process(rng, most):
    layer, codes, scores, table = post_process(rng, 12, 3, max_classes_per_detection=most)
    specs = [BlobSpec(codes.shape), BlobSpec(scores.shape)]
    shapes = [spec.dims for spec in layer.output_specs(specs, {})]
    state = layer.prepare({"anchors": Tensor.from_array(table)}, specs)
    boxes, classes, values, count = layer.forward([codes, scores], state)
    assert [x.shape for x in (boxes, classes, values, count)] == shapes

    code, score = codes[0, :, :, 0].T, scores[0, 1:, :, 0].T
    middle = code[:, :2] / 10 * table[:, 2:] + table[:, :2]
    half = np.exp(code[:, 2:] / 5) * table[:, 2:] / 2
    decoded = np.concatenate([middle - half, middle + half], 1)
    kept = suppressed(decoded, score.max(1), 0.3, None, 0.5)[:4]
    picked = [(i, c) for i in kept for c in np.argsort(-score[i], kind="stable")[:most]]
    assert count.ravel() == [len(picked)]
    np.testing.assert_allclose(boxes[0, : len(picked), :, 0], decoded[[i for i, _ in picked]], rtol=1e-5)
    np.testing.assert_array_equal(classes[0, : len(picked), 0, 0], [c for _, c in picked])
    np.testing.assert_allclose(values[0, : len(picked), 0, 0], [score[i, c] for i, c in picked])
    assert not boxes[0, len(picked) :].any()


def test_detection_post_process_errors(rng):
    layer, codes, scores, _ = post_process(rng, 5, 2)
    specs = [BlobSpec(codes.shape), BlobSpec(scores.shape)]
    with pytest.raises(GraphError, match=r"anchors has 0 values, expected A\*4 = 5\*4 = 20"):
        layer.prepare({}, specs)
    with pytest.raises(UnsupportedLayerError, match="the batch has 2 images"):
        layer.output_specs([BlobSpec((2, 4, 5, 1)), BlobSpec((2, 3, 5, 1))], {})
    layer, *_ = post_process(rng, 5, 2, use_regular_nms=1)
    with pytest.raises(UnsupportedLayerError, match="use_regular_nms"):
        layer.output_specs(specs, {})
    layer, *_ = post_process(rng, 5, 9)
    with pytest.raises(GraphError, match="num_classes is 9, expected 1 to 3"):
        layer.output_specs(specs, {})
