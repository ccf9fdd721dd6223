"""What fits into ``--time-budget``: the recipe asked for, from all pictures or fewer, or a quicker one.

By what the stages of each are expected to take here (:mod:`tnnquant.pipeline.duration`), the first of them that fits is
taken: they are in the order of what is lost. The default recipe is at the end, and taken at any rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tnnquant.config import QuantizeConfig
from tnnquant.pipeline.duration import BETTER, END, VERDICT, Pictures, Work, stages_of
from tnnquant.verdict.verify import SECOND

__all__ = ["FEW", "Fitting", "fitting", "settled"]

#: Pictures that are enough for recipes that come closer to fp32 than the default.
FEW = 16
#: It may take so many times as long as is expected; machines may be so many times as slow as that of the costs, or as
#: fast.
_DOUBT, _SLOWEST = 1.05, 4.0
#: What says how the default recipe makes a model.
_OF_RECIPE = ("recipe", "blob_method", "weight_method", "merge_type", "fp32_share")


@dataclass(frozen=True)
class Fitting:
    """What is made, and how long it is expected to take.

    Attributes
    ----------
    config : QuantizeConfig
    made : int
        Pictures that the model is made from.
    seconds : float
    asked : float
        Seconds of what was asked for.
    after : float
        Of :attr:`seconds`, those after the model is made.
    """

    config: QuantizeConfig
    made: int
    seconds: float
    asked: float
    after: float


def fitting(
    config: QuantizeConfig, work: Work, factor: float, made: int, left: float, evaluated: int = 0
) -> Fitting:
    """What fits.

    Parameters
    ----------
    config : QuantizeConfig
        With a recipe of :data:`~tnnquant.pipeline.duration.BETTER`.
    work, factor, evaluated
        As of :func:`~tnnquant.pipeline.duration.expected_seconds`.
    made : int
        Pictures that are there.
    left : float
        Seconds that it may take.
    """
    asked = 0.0
    for tried, count in _in_order(config, made):
        stages = stages_of(tried, work, Pictures.of(tried.recipe, count, evaluated))
        seconds = factor * sum(stages.values())
        asked = asked or seconds
        if seconds * _DOUBT <= left:
            break
    after = factor * sum(stages[name] for name in (VERDICT, SECOND, END))
    return Fitting(tried, count, seconds, asked, after)


def settled(config: QuantizeConfig, work: Work, made: int, left: float, evaluated: int = 0) -> Fitting | None:
    """What fits on a machine that is four times as slow as that of the costs, and on one four times as fast; None if
    these are not the same: pictures have to be timed. Parameters are those of :func:`fitting`."""
    slow, quick = (fitting(config, work, factor, made, left, evaluated) for factor in (_SLOWEST, 1 / _SLOWEST))
    is_same = (slow.config, slow.made) == (quick.config, quick.made)
    return fitting(config, work, 1.0, made, left, evaluated) if is_same else None


def _in_order(config: QuantizeConfig, made: int) -> Iterator[tuple[QuantizeConfig, int]]:
    """What may be made, that which loses least first."""
    yield config, made
    few = min(made, FEW)
    if few < made:
        yield config, few
    for recipe in reversed(BETTER[: BETTER.index(config.recipe)]):
        yield replace(config, recipe=recipe, fp32_share=None), few
    plain = QuantizeConfig()
    yield replace(config, **{name: getattr(plain, name) for name in _OF_RECIPE}), made
