"""Gather and GatherND: pick slices by index."""

from __future__ import annotations

from tnnquant.layers.base import FlagField, Layer, ScaleField, TensorField, layer, param

__all__ = ["Gather", "GatherND"]


@layer(104, "Gather", "DynamicRangeQuantizedGather")
class Gather(Layer):
    """Slices of ``data`` along ``axis``, picked by ``indices``; either may lie in the model file."""

    RESOURCE = (
        FlagField("has_data", of="data"),
        TensorField("data", when="has_data"),
        FlagField("has_indices", of="indices"),
        TensorField("indices", when="has_indices"),
        ScaleField(of="data", zero_point=False),
    )

    axis: int = param(default=0)
    data_in_resource: bool = param("bool", default=False)
    indices_in_resource: bool = param("bool", default=True)


@layer(315, "GatherND")
class GatherND(Layer):
    """Slices picked by index vectors."""

    batch_dims: int = param(default=0)
