"""Boxes from an SSD head: DetectionOutput of Caffe, DetectionPostProcess of TensorFlow Lite (docs/tnn-format.md, 4.4,
5.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import TensorField, TextField, param
from tnnquant.layers.nms import best_first, kept_boxes

__all__ = ["DetectionOutput", "DetectionPostProcess"]

CORNER, CENTER_SIZE = 1, 2
_OBJECTNESS = np.float32(0.1)
"""A prior whose objectness lies below is background."""


def decode_boxes(code: np.ndarray, priors: np.ndarray, variances: np.ndarray, code_type: int) -> np.ndarray:
    """Boxes from what an SSD head predicts.

    Parameters
    ----------
    code, priors : float32 (n, 4)
        Predictions; the corners x0, y0, x1, y1 they refer to.
    variances : float32 (n, 4)
        Factors of the predictions.
    code_type : int
        1: offsets of the corners; 2: offset of the centre and logarithm of the size, in parts of the prior's size; else
        offsets of the corners in parts of the prior's size.

    Returns
    -------
    float32 (n, 4)
        Corners x0, y0, x1, y1.
    """
    scaled = variances * code
    size = priors[:, 2:] - priors[:, :2]
    if code_type != CENTER_SIZE:
        corners: np.ndarray = priors + (scaled if code_type == CORNER else scaled * np.concatenate([size, size], 1))
        return corners
    middle = scaled[:, :2] * size + (priors[:, :2] + priors[:, 2:]) / np.float32(2)
    with np.errstate(over="ignore"):
        half = np.exp(scaled[:, 2:]) * size / np.float32(2)
    return np.concatenate([middle - half, middle + half], 1)


@layer(34, "DetectionOutput")
class DetectionOutput(Layer):
    """Decoded boxes after non-maximum suppression: (1, 1, kept, 7), rows (image, label, score, x0, y0, x1, y1).

    The inputs are locations (N, priors*4 or priors*classes*4), scores (N, priors*classes), priors (1, 2, priors*4),
    and, for a refining detector, objectness (N, priors*2) and first locations (N, priors*4). Without any detection
    there is one row per image: its number, then -1. TNN's output has room for ``keep_top_k`` rows of all images
    together; ours for as many of each.
    """

    SELECTS = True

    num_classes: int = param(default=0)
    share_location: bool = param("bool", default=False)
    background_label_id: int = param(default=0)
    variance_encoded_in_target: bool = param("bool", default=False)
    code_type: int = param(default=0)
    keep_top_k: int = param(default=0)
    confidence_threshold: float = param("float", default=0.0)
    nms_threshold: float = param("float", default=0.0)
    nms_top_k: int = param(default=0)
    eta: float = param("float", default=0.0)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 3, 5)
        check_types(inputs, DataType.FLOAT)
        images = inputs[0].dims[0] if inputs[0].dims else 0
        priors = prod(inputs[2].dims[2:]) // 4
        if len(inputs[2].dims) < 3 or inputs[2].dims[1] != 2 or priors < 1:
            raise GraphError(f"the priors have the dims {inputs[2].dims}, expected (1, 2, priors*4, 1)")
        places = 1 if self.share_location else self.num_classes
        wanted = (
            ("locations", priors * places * 4), ("scores", priors * self.num_classes), None,
            ("objectness", priors * 2), ("first locations", priors * 4),
        )  # fmt: skip
        for what, spec in zip(wanted, inputs, strict=False):
            if what and (images < 1 or prod(spec.dims) != images * what[1] or self.num_classes < 1):
                raise GraphError(
                    f"the {what[0]} have the dims {spec.dims}, expected {images} images of {what[1]} values "
                    f"({priors} priors, {self.num_classes} classes)"
                )
        if len(inputs) == 5 and not self.share_location:
            raise UnsupportedLayerError("first locations need share_location: TNN has no form with locations per class")
        most = images * self.num_classes * priors
        return [BlobSpec((1, 1, max(images, most if self.keep_top_k < 0 else self.keep_top_k), 7))]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        images = len(inputs[0])
        # What belongs to an image is known by its size alone: one image's scores may have any dims.
        inputs = [x if i == 2 else np.ascontiguousarray(x).reshape(images, -1) for i, x in enumerate(inputs)]
        priors = np.ascontiguousarray(inputs[2]).reshape(-1)
        count = priors.size // (8 * len(inputs[2]))
        boxes, variances = priors[: count * 4].reshape(-1, 4), priors[count * 4 : count * 8].reshape(-1, 4)
        if self.variance_encoded_in_target:
            variances = np.ones_like(variances)
        rows = []
        for image in range(images):
            refined = boxes
            if len(inputs) == 5:
                refined = decode_boxes(_of(inputs[4], image, (count, 4)), boxes, variances, self.code_type)
            decoded = self._decoded(_of(inputs[0], image, (count, -1, 4)), refined, variances)
            rows += self._image_rows(image, decoded, self._scores(inputs, image, count))
        if not rows:
            nothing = np.full((images, 7), -1, np.float32)
            nothing[:, 0] = np.arange(images)
            rows = [nothing]
        return [np.concatenate(rows)[None, None]]

    def _scores(self, inputs: Sequence[np.ndarray], image: int, count: int) -> np.ndarray:
        """Scores of an image: float32 (classes, priors)."""
        scores = np.ascontiguousarray(_of(inputs[1], image, (count, self.num_classes)).T)
        if len(inputs) >= 4:
            is_nothing = _of(inputs[3], image, (count, 2))[:, 1] < _OBJECTNESS
            scores[:, is_nothing] = 0
            scores[0, is_nothing] = 1
        return scores

    def _decoded(self, code: np.ndarray, priors: np.ndarray, variances: np.ndarray) -> list[np.ndarray]:
        """Boxes of every class, or one array for all of them."""
        return [decode_boxes(code[:, place], priors, variances, self.code_type) for place in range(code.shape[1])]

    def _image_rows(self, image: int, decoded: list[np.ndarray], scores: np.ndarray) -> list[np.ndarray]:
        """The rows of an image, by class, the best first."""
        if self.share_location and self.background_label_id == -1:
            return []  # TNN, as Caffe, takes the shared locations, which it labels -1, for the background's
        found: list[tuple[int, np.ndarray]] = []
        for label in range(self.num_classes):
            if label == self.background_label_id:
                continue
            order = best_first(scores[label], self.confidence_threshold)
            order = order[: self.nms_top_k] if self.nms_top_k > -1 else order
            boxes = decoded[0 if self.share_location else label]
            found.append((label, kept_boxes(boxes, order, self.nms_threshold, eta=self.eta, is_lenient=False)))
        labels = np.concatenate([np.full(len(kept), label) for label, kept in found] or [np.empty(0, np.int64)])
        kept = np.concatenate([kept for _, kept in found] or [np.empty(0, np.int64)])
        if -1 < self.keep_top_k < len(kept):
            best = np.argsort(-scores[labels, kept], kind="stable")[: self.keep_top_k]
            best = best[np.argsort(labels[best], kind="stable")]
            labels, kept = labels[best], kept[best]
        if not len(kept):
            return []
        rows = np.empty((len(kept), 7), np.float32)
        rows[:, 0], rows[:, 1], rows[:, 2] = image, labels, scores[labels, kept]
        places = np.zeros_like(labels) if self.share_location else labels
        rows[:, 3:] = [decoded[place][box] for place, box in zip(places, kept, strict=True)]
        return [rows]


def _of(x: np.ndarray, image: int, shape: tuple[int, ...]) -> np.ndarray:
    """The values of one image of a batch in another shape."""
    values: np.ndarray = x[image].reshape(shape)
    return values


@layer(197, "DetectionPostProcess")
class DetectionPostProcess(Layer):
    """Boxes, classes, scores and count of an SSD head with anchors (y, x, h, w), suppressed without regard to class.

    The inputs are codes (1, 4, A, 1) and scores (1, classes, A, 1), where classes may have a background in front. Boxes
    are y0, x0, y1, x1; rows beyond the count are 0.
    """

    SELECTS = True

    RESOURCE = (TextField(), TensorField("anchors"))

    max_detections: int = param(default=0)
    max_classes_per_detection: int = param(default=0)
    detections_per_class: int = param(default=0)
    use_regular_nms: bool = param("bool", default=False)
    nms_score_threshold: float = param("float", default=0.0)
    nms_iou_threshold: float = param("float", default=0.0)
    num_classes: int = param(default=0)
    y_scale: float = param("float", default=0.0)
    x_scale: float = param("float", default=0.0)
    h_scale: float = param("float", default=0.0)
    w_scale: float = param("float", default=0.0)
    has_anchors: bool = param("bool", default=False)
    num_anchors: int = param(default=0)
    anchors_coord_num: int = param(default=0)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 2)
        check_types(inputs, DataType.FLOAT)
        codes, scores = inputs[0].dims, inputs[1].dims
        if self.use_regular_nms:
            raise UnsupportedLayerError("use_regular_nms is set; TNN runs the fast suppression only")
        if len(codes) != 4 or codes[1] < 4 or codes[3] != 1 or len(scores) != 4 or scores[2:] != codes[2:]:
            raise GraphError(
                f"the inputs have the dims {codes} and {scores}, expected (1, 4, A, 1) and (1, classes, A, 1)"
            )
        if codes[0] != 1 or scores[0] != 1:
            raise UnsupportedLayerError(f"the batch has {codes[0]} images; TNN's kernel handles one: split the batch")
        if not 1 <= self.num_classes <= scores[1]:
            raise GraphError(f"num_classes is {self.num_classes}, expected 1 to {scores[1]}, the scores of a box")
        if min(self.max_detections, self.max_classes_per_detection) < 1:
            raise GraphError(
                f"max_detections is {self.max_detections}, max_classes_per_detection "
                f"{self.max_classes_per_detection}, expected at least 1"
            )
        rows = self.max_detections * self.max_classes_per_detection
        return [BlobSpec((1, rows, width, 1)) for width in (4, 1, 1)] + [BlobSpec((1, 1, 1, 1))]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> np.ndarray:
        """The anchors, float32 (A, 4)."""
        count = inputs[0].dims[2]
        got = tensors["anchors"].size if "anchors" in tensors else 0
        if got != count * 4:
            raise GraphError(f"anchors has {got} values, expected A*4 = {count}*4 = {count * 4}")
        return tensors["anchors"].float32().reshape(count, 4)

    def forward(self, inputs: Sequence[np.ndarray], state: np.ndarray) -> list[np.ndarray]:
        boxes = self._decoded(inputs[0][0, :4, :, 0].T, state)
        scores = inputs[1][0, inputs[1].shape[1] - self.num_classes :, :, 0].T
        order = best_first(scores.max(1), self.nms_score_threshold)
        corners = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
        kept = kept_boxes(corners, order, self.nms_iou_threshold, most=self.max_detections)
        columns = min(self.max_classes_per_detection, self.num_classes)
        classes = np.argsort(-scores[kept], axis=1, kind="stable")[:, :columns]
        rows = self.max_detections * self.max_classes_per_detection
        made = [np.zeros((1, rows, width, 1), np.float32) for width in (4, 1, 1)]
        count = classes.size
        made[0][0, :count, :, 0] = np.repeat(boxes[kept], columns, 0)
        made[1][0, :count, 0, 0] = classes.reshape(-1)
        made[2][0, :count, 0, 0] = np.take_along_axis(scores[kept], classes, 1).reshape(-1)
        return [*made, np.full((1, 1, 1, 1), count, np.float32)]

    def _decoded(self, codes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
        """Boxes y0, x0, y1, x1: float32 (A, 4)."""
        f32 = np.float32
        with np.errstate(all="ignore"):
            scaled = codes / np.array([self.y_scale, self.x_scale, self.h_scale, self.w_scale], f32)
            middle = scaled[:, :2] * anchors[:, 2:] + anchors[:, :2]
            half = f32(0.5) * np.exp(scaled[:, 2:]) * anchors[:, 2:]
        return np.concatenate([middle - half, middle + half], 1)
