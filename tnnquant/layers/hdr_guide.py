"""Guide map of a bilateral-grid network (HDRnet)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, TensorField, layer

__all__ = ["HDRGuide"]


@layer(302, "HDRGuide")
class HDRGuide(Layer):
    """(N, 3, H, W) to (N, 1, H, W): colour matrix, piecewise-linear curves, projection, clipped to 0..1."""

    RESOURCE = (
        TensorField("ccm_weight"),
        TensorField("ccm_bias"),
        TensorField("shifts"),
        TensorField("slopes"),
        TensorField("projection_weight"),
        TensorField("projection_bias"),
    )
