"""Recipes: ways to quantize a model as a whole. ``tnn`` has the methods of TNN's tool, by flags; ``best`` comes closest
to fp32; ``dynamic`` needs no data.

A new one is one module here with ``@recipe(code, "name")``, which declares what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tnnquant.recipes.base import REGISTRY, Recipe, recipe

if TYPE_CHECKING:
    from tnnquant.config import QuantizeConfig
    from tnnquant.graph import Graph
    from tnnquant.inputs.split import Split
    from tnnquant.quantization.quantize import Quantization
    from tnnquant.verdict.own_metric import Goal

__all__ = ["every", "find", "method_codes", "mixable", "quantize", "recipe"]

Progress = Callable[[str, int, int], None]


def find(name: str) -> Recipe:
    """The recipe of that name: what it declares, and how it quantizes.

    Raises
    ------
    ConfigError
        There is none; the known names are listed.
    """
    return REGISTRY.find(name)


def every() -> list[Recipe]:
    """All recipes, in order of their numbers."""
    return [find(name) for name in REGISTRY.codes().values()]


def quantize(
    graph: Graph, split: Split | None, config: QuantizeConfig, progress: Progress | None = None,
    budget: float | None = None, goal: Goal | None = None,
) -> Quantization:  # fmt: skip
    """Quantize a graph by the recipe of the configuration.

    Parameters
    ----------
    graph : Graph
        An fp32 model.
    split : Split or None
        Which samples calibrate and which choose; None for a recipe that needs no inputs.
    config : QuantizeConfig
    progress : callable (stage, done, total), optional
    budget : float, optional
        Seconds, for recipes that are ``bounded``.
    goal : Goal, optional
        The user's own metric, for recipes that choose by it.

    Returns
    -------
    Quantization

    Raises
    ------
    TnnQuantError
        The model cannot be run or quantized, or the samples allow no statistics.
    """
    chosen = find(config.recipe)
    more: dict[str, Any] = {"budget": budget} if chosen.bounded else {}
    if chosen.takes_goal:
        more["goal"] = goal
    return chosen.quantize(graph, split, config, progress, **more)


def mixable(graph: Graph, split: Split, config: QuantizeConfig, progress: Progress | None = None) -> Quantization:
    """What the recipe makes without the steps after which layers cannot go back to fp32 one by one.

    Parameters and results are those of :func:`quantize`.
    """
    chosen = find(config.recipe)
    return (chosen.mixable or chosen.quantize)(graph, split, config, progress)


def method_codes() -> dict[int, str]:
    """Names of the recipes by number."""
    return REGISTRY.codes()
