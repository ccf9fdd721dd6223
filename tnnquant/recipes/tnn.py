"""The methods of TNN's tool, as the flags say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tnnquant.quantization.quantize import Quantization, quantize_split
from tnnquant.recipes.base import recipe

if TYPE_CHECKING:
    from tnnquant.base.progress import Progress
    from tnnquant.config import QuantizeConfig
    from tnnquant.graph import Graph
    from tnnquant.inputs.split import Split

__all__ = ["tnn"]


@recipe(0, "tnn", starts_from_statistics=True, settings=("blob_method", "weight_method", "merge_type", "scales"))
def tnn(graph: Graph, split: Split, config: QuantizeConfig, progress: Progress | None = None) -> Quantization:
    """:func:`tnnquant.quantization.quantize.quantize_split`."""
    return quantize_split(graph, split, config, progress)
