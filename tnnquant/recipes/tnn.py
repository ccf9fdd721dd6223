"""The methods of TNN's tool, as the flags say."""

from __future__ import annotations

from tnnquant.quantization.quantize import Quantization, quantize_graph
from tnnquant.recipes.base import recipe

__all__ = ["tnn"]


@recipe(0, "tnn", starts_from_statistics=True, settings=("blob_method", "weight_method", "merge_type"))
def tnn(graph, samples, config, progress=None, watch=None) -> Quantization:
    """:func:`tnnquant.quantization.quantize.quantize_graph`."""
    return quantize_graph(graph, samples, config, progress, watch)
