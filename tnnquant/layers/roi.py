"""Fixed-size features of regions of interest (reference, 4.4, 5.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tnnquant.layers.base import Layer, layer, param

__all__ = ["ROIPooling", "RoiAlign"]


@layer(317, "RoiAlign")
class RoiAlign(Layer):
    """Pooling of bilinear samples; ``mode`` 0 maximum, 1 average."""

    mode: int = param(default=1)
    out_h: int = param(default=0)
    out_w: int = param(default=0)
    sampling_ratio: int = param(default=0)
    spatial_scale: float = param("float", default=0.0)


@layer(14, "ROIPooling")
class ROIPooling(Layer):
    """Pooling of the cells of a region; TNN has no CPU code for it."""

    pool_type: int = param()
    spatial_scale: float = param("float")
    pooled_w: int = param()
    pooled_h: int = param()
    pooled_d: tuple[int, ...] = param("rest")
    """At most one value; there for rank 5 only."""

    WHY_NOT = "TNN's CPU device has no code for it; use RoiAlign"

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> ROIPooling:
        parsed = super().parse(tokens)
        return replace(parsed, pooled_d=parsed.pooled_d[:1])
