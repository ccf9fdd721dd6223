"""Non-maximum suppression in ONNX's form (reference, 4.4, 5.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tnnquant.errors import ModelFormatError
from tnnquant.layers.base import Layer, layer, param

__all__ = ["NonMaxSuppression"]


@layer(335, "NonMaxSuppression")
class NonMaxSuppression(Layer):
    """Indices (image, class, box) of the boxes kept."""

    center_point_box: int = param(default=0)
    max_output_boxes_per_class: int = param(default=0)
    iou_threshold: float = param("float", default=0.0)
    score_threshold: float = param("float", default=0.0)

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> NonMaxSuppression:
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
