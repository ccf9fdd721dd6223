"""Upsample: resize height and width."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Upsample"]


@layer(149, "Upsample", "QuantizedUpsample")
class Upsample(Layer):
    """Resize by nearest (``mode`` 1), bilinear (2) or cubic (3) interpolation.

    ``dims`` is (height, width), or empty: then the factors ``scale_h``, ``scale_w`` decide.
    """

    mode: int = param()
    scale_h: float = param("float")
    scale_w: float = param("float")
    align_corners: int = param(default=0)
    dims: tuple = param("rest", default=())

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Upsample:
        """The output size counts only if both its tokens are there."""
        parsed = super().parse(tokens)
        return dataclasses.replace(parsed, dims=parsed.dims[:2] if len(parsed.dims) >= 2 else ())
