"""Convolutions that copy a blob and put a border around it, which may be wider on one side.

A depthwise 1x1 convolution with pads does so where the border is even: beyond the blob its value is the bias. TNN's
explicit pads are the same on both sides. A window one place larger, of which one place counts, moves the blob by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tnnquant.graph.graph import Node
from tnnquant.layers.convolution import EXPLICIT, Convolution

__all__ = ["Border", "border_of", "copying_convolution"]


@dataclass(frozen=True)
class Border:
    """Places that are added around a map."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def even(cls, high: int, wide: int) -> Border:
        """As many on both sides."""
        return cls(high, high, wide, wide)

    @property
    def is_even(self) -> bool:
        """Whether there are as many on both sides."""
        return (self.top, self.left) == (self.bottom, self.right)

    def cut(self, array: np.ndarray) -> np.ndarray:
        """What is within the border, of an array (N, C, H, W)."""
        height, width = array.shape[2:]
        return array[:, :, self.top : height - self.bottom, self.left : width - self.right]


def copying_convolution(channels: int, border: Border) -> tuple[Convolution, np.ndarray]:
    """A depthwise convolution that copies channels and adds a border, and its weights, float32 (C, 1, KH, KW)."""
    pad_h, pad_w = max(border.top, border.bottom), max(border.left, border.right)
    kernel_h, kernel_w = 1 + abs(border.top - border.bottom), 1 + abs(border.left - border.right)
    layer = Convolution(
        group=channels, input_channel=1, output_channel=channels, kernel_h=kernel_h, kernel_w=kernel_w, stride_h=1,
        stride_w=1, pad_h=pad_h, pad_w=pad_w, bias=1, pad_type=EXPLICIT,
    )  # fmt: skip
    weight = np.zeros((channels, 1, kernel_h, kernel_w), np.float32)
    weight[:, :, pad_h - border.top, pad_w - border.left] = 1
    return layer, weight


def border_of(node: Node) -> Border | None:
    """The border that a convolution adds to the channels it copies; None if it does anything else.

    Its bias is not looked at.
    """
    layer = node.layer
    if not isinstance(layer, Convolution) or "filter" not in node.tensors:
        return None
    if (layer.group, layer.stride_h, layer.stride_w) != (layer.output_channel, 1, 1) or layer.activation_type:
        return None
    weight = node.tensors["filter"].float32()
    window = layer.kernel_h, layer.kernel_w
    if layer.pad_type != EXPLICIT or weight.size != layer.group * window[0] * window[1]:
        return None
    rows = weight.reshape(layer.group, -1)
    place = int(np.argmax(rows[0])) if len(rows) else 0
    if not np.array_equal(rows, np.broadcast_to(np.arange(rows.shape[1]) == place, rows.shape)):
        return None
    row, column = divmod(place, window[1])
    border = Border(
        layer.pad_h - row, layer.pad_h - (window[0] - 1 - row), layer.pad_w - column,
        layer.pad_w - (window[1] - 1 - column),
    )  # fmt: skip
    return border if min(border.top, border.bottom, border.left, border.right) >= 0 else None
