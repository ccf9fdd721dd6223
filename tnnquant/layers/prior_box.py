"""Default boxes of an SSD detector (reference, 4.4, 5.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tnnquant.layers.base import Layer, layer, param

__all__ = ["PriorBox"]


@layer(33, "PriorBox")
class PriorBox(Layer):
    """Boxes of several sizes and aspect ratios around every cell of a feature map."""

    min_sizes: tuple[float, ...] = param("floats")
    max_sizes: tuple[float, ...] = param("floats")
    clip: int = param()
    flip: int = param()
    variances: tuple[float, ...] = param("floats")
    aspect_ratios: tuple[float, ...] = param("floats")
    img_w: int = param()
    img_h: int = param()
    step_w: int = param()
    step_h: int = param()
    offset: float = param("float")

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> PriorBox:
        parsed = super().parse(tokens)
        return replace(parsed, clip=int(parsed.clip == 1), flip=int(parsed.flip == 1))
