"""The recipe ``best``. What it is made of lies in the modules of this package; :mod:`workbench` puts them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tnnquant.config import QuantizeConfig
from tnnquant.graph import Graph
from tnnquant.inputs.split import Split
from tnnquant.quantization.quantize import Quantization
from tnnquant.recipes.base import recipe
from tnnquant.verdict.own_metric import Goal

if TYPE_CHECKING:
    from tnnquant.base.progress import Progress

__all__ = ["best"]


def _mixable(graph: Graph, split: Split, config: QuantizeConfig, progress: Progress | None = None) -> Quantization:
    """Without shifted codes and without layers in fp32 of its own choice, and no check of whether the steps help."""
    from tnnquant.recipes.best.workbench import Effort, Steps, quantize_with

    steps = Steps(balance=True, rounding=True, bias=True)
    return quantize_with(graph, split, config, steps, progress, Effort(copies=False))


@recipe(1, "best", chooses_on_held_out=True, settings=("fp32_share",), mixable=_mixable, bounded=True, takes_goal=True)
def best(
    graph: Graph, split: Split, config: QuantizeConfig, progress: Progress | None = None, budget: float | None = None,
    goal: Goal | None = None,
) -> Quantization:  # fmt: skip
    """Quantize so that the outputs stay as close to fp32 as they can; the flags for methods and types have no effect.

    ``budget``: seconds, after which steps that are not done yet are skipped. ``goal``: the user's own metric; only
    as many layers stay in fp32 as it needs.
    """
    from tnnquant.recipes.best.workbench import quantize_best

    return quantize_best(graph, split, config, progress, budget, goal)
