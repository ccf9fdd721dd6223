"""The methods of TNN's tool, as the flags say."""

from __future__ import annotations

from tnnquant.quantization.quantize import Quantization, quantize_split
from tnnquant.recipes.base import recipe

__all__ = ["tnn"]


@recipe(0, "tnn", starts_from_statistics=True, settings=("blob_method", "weight_method", "merge_type", "scales"))
def tnn(graph, split, config, progress=None) -> Quantization:
    """:func:`tnnquant.quantization.quantize.quantize_split`."""
    return quantize_split(graph, split, config, progress)
