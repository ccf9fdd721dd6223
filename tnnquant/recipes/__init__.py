"""Recipes: ``tnn``, the original's methods as the flags say; ``best``, what is closest to fp32; ``dynamic``, without data.

A new one is one module here with ``@recipe(code, "name")``.
"""

from __future__ import annotations

from tnnquant.recipes.base import REGISTRY, recipe

__all__ = ["quantize", "recipe", "recipe_codes"]


def quantize(graph, samples, config, progress=None):
    """Quantize a graph by the recipe of the configuration.

    Parameters
    ----------
    graph : Graph
        An fp32 model.
    samples : re-iterable of Sample
    config : QuantizeConfig
    progress : callable (stage, done, total), optional

    Returns
    -------
    Quantization

    Raises
    ------
    TnnQuantError
        The model cannot be run or quantized, or the samples allow no statistics.
    """
    return REGISTRY.find(config.recipe)(graph, samples, config, progress)


def recipe_codes() -> dict[int, str]:
    """Names of the recipes by number."""
    return REGISTRY.codes()
