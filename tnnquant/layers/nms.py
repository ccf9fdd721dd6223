"""Non-maximum suppression in ONNX's form (docs/tnn-format.md, 4.4, 5.7), and the call of the kernel that detectors
share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, ModelFormatError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import param

__all__ = ["NonMaxSuppression", "best_first", "kept_boxes"]


def best_first(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the scores above a threshold, the best first, of equal ones the first: int64 (k,)."""
    above = np.flatnonzero(scores > np.float32(threshold))
    return above[np.argsort(-scores[above], kind="stable")]


def kept_boxes(
    boxes: np.ndarray, order: np.ndarray, threshold: float, *, eta: float = 1, is_lenient: bool = True, most: int = -1
) -> np.ndarray:
    """The candidates that greedy suppression keeps; see :func:`tnnquant.kernels.nms.greedy_nms`.

    Parameters
    ----------
    boxes : float32 (n, 4)
        Corners x0, y0, x1, y1.
    order : int64 (k,)
        Candidates, the best first.
    most : int
        How many to keep at most; -1: all.
    """
    from tnnquant.kernels.nms import TABLE_ROWS, greedy_nms

    kept, table = np.empty(len(order), np.int64), np.empty((TABLE_ROWS, len(order)), np.float32)
    most = len(order) if most < 0 else min(most, len(order))
    boxes, order = np.ascontiguousarray(boxes, np.float32), np.ascontiguousarray(order, np.int64)
    return kept[: greedy_nms(boxes, order, np.float32(threshold), np.float32(eta), is_lenient, most, table, kept)]


@layer(335, "NonMaxSuppression")
class NonMaxSuppression(Layer):
    """Indices (image, class, box) of the boxes kept, INT32 (n, 3).

    The inputs are boxes (N, B, 4) and scores (N, classes, B). ``center_point_box`` 0: boxes are two corners y, x, in
    any order; else centre x, y, width, height. TNN's output has room for one class of one image; ours for all.
    """

    SELECTS = True

    center_point_box: int = param(default=0)
    max_output_boxes_per_class: int = param(default=0)
    iou_threshold: float = param("float", default=0.0)
    score_threshold: float = param("float", default=0.0)

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Self:
        # The second parameter has 64 bits: ONNX models say "all" with 2^63 - 1.
        if len(tokens) < 2:
            return super().parse(tokens)
        try:
            limit = int(tokens[1])
        except ValueError:
            limit = 1 << 63
        if not -(1 << 63) <= limit < 1 << 63:
            raise ModelFormatError(
                f"parameter 'max_output_boxes_per_class' is {tokens[1]!r}, expected an integer of 64 bits"
            )
        parsed = super().parse([tokens[0], "0", *tokens[2:]])
        return replace(parsed, max_output_boxes_per_class=limit)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 2)
        check_types(inputs, DataType.FLOAT)
        boxes, scores = inputs[0].dims, inputs[1].dims
        if len(boxes) != 3 or boxes[2] != 4 or len(scores) != 3 or (scores[0], scores[2]) != boxes[:2]:
            raise GraphError(
                f"boxes and scores have the dims {boxes} and {scores}, expected (N, B, 4) and (N, classes, B)"
            )
        if self.max_output_boxes_per_class < 0:
            raise GraphError(f"max_output_boxes_per_class is {self.max_output_boxes_per_class}, expected at least 0")
        # The number depends on the data; this is the most there can be.
        most = scores[0] * scores[1] * min(self.max_output_boxes_per_class, boxes[1])
        return [BlobSpec((most, 3), DataType.INT32)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        scores = inputs[1]
        rows = [np.empty((0, 3), np.int32)]
        for image, boxes in enumerate(self._corners(inputs[0])):
            for label in range(scores.shape[1]):
                order = best_first(scores[image, label], self.score_threshold)
                kept = kept_boxes(boxes, order, self.iou_threshold, most=self.max_output_boxes_per_class)
                rows.append(np.stack([np.full_like(kept, image), np.full_like(kept, label), kept], 1).astype(np.int32))
        return [np.concatenate(rows)]

    def _corners(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes as x0, y0, x1, y1."""
        if self.center_point_box:
            half = boxes[..., 2:] / np.float32(2)
            return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)
        first, second = boxes[..., 1::-1], boxes[..., 3:1:-1]
        return np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1)
