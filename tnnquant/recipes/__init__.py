"""Recipes: ways to quantize a model as a whole. ``tnn`` has the methods of TNN's tool, by flags; ``best`` comes closest
to fp32; ``dynamic`` needs no data.

A new one is one module here with ``@recipe(code, "name")``, which declares what it needs.
"""

from __future__ import annotations

from tnnquant.recipes.base import REGISTRY, Recipe, recipe

__all__ = ["every", "find", "method_codes", "mixable", "quantize", "recipe"]


def find(name: str) -> Recipe:
    """The recipe of that name: what it declares, and how it quantizes.

    Raises
    ------
    ConfigError
        There is none; the known names are listed.
    """
    found: Recipe = REGISTRY.find(name)
    return found


def every() -> list[Recipe]:
    """All recipes, in order of their numbers."""
    return [find(name) for name in REGISTRY.codes().values()]


def quantize(graph, samples, config, progress=None, watch=None):
    """Quantize a graph by the recipe of the configuration.

    Parameters
    ----------
    graph : Graph
        An fp32 model.
    samples : re-iterable of Sample
    config : QuantizeConfig
    progress : callable (stage, done, total), optional
    watch : callable (sample, outputs), optional
        Shown what the fp32 model gives for the samples that statistics are made of.

    Returns
    -------
    Quantization

    Raises
    ------
    TnnQuantError
        The model cannot be run or quantized, or the samples allow no statistics.
    """
    return find(config.recipe).quantize(graph, samples, config, progress, watch)


def mixable(graph, samples, config, progress=None):
    """What the recipe makes without the steps after which layers cannot go back to fp32 one by one.

    Parameters and results are those of :func:`quantize`.
    """
    chosen = find(config.recipe)
    return (chosen.mixable or chosen.quantize)(graph, samples, config, progress)


def method_codes() -> dict[int, str]:
    """Names of the recipes by number."""
    return REGISTRY.codes()
