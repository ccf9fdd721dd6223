"""Recipes: ``tnn``, the original's methods by flags; ``best``, what is closest to fp32; ``dynamic``, without data.

A new one is one module here with ``@recipe(code, "name")``.
"""

from __future__ import annotations

from tnnquant.recipes.base import REGISTRY, recipe

__all__ = ["method_codes", "mixable", "quantize", "recipe"]


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
    return REGISTRY.find(config.recipe)(graph, samples, config, progress, watch)


def mixable(graph, samples, config, progress=None):
    """What the recipe ``best`` makes without the steps after which layers cannot go back to fp32 one by one.

    Parameters and results are those of :func:`quantize`.
    """
    from tnnquant.recipes.best.workbench import Steps, quantize_with

    return quantize_with(graph, samples, config, Steps(balance=True, rounding=True, bias=True), progress)


def method_codes() -> dict[int, str]:
    """Names of the recipes by number."""
    return REGISTRY.codes()
