"""How long the rest of a run takes: what is counted of each stage, at the speed of what is done so far.

A stage that is like one before (weights for a trial, and those of the result) is expected to run at its speed, any
other at that of all together. Kernels that are compiled meanwhile do not count: nothing of the kind need follow.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tnnquant.base.progress import Progress
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.pipeline.duration import stages_of, work_of
from tnnquant.quantization.plan import QuantPlan

__all__ = ["Pace", "paced"]

#: The share of all that must be done before anything is said, and the share of a stage before its own speed counts.
_LEAST, _OWN = 0.04, 0.1


def paced(
    progress: Progress | None, config: QuantizeConfig, pictures: int, judged: tuple[int, int], evaluated: int = 0
) -> Progress | None:
    """A bar that is told how many seconds are left; any other callable as it is."""
    tell = getattr(progress, "left", None)
    return Pace(progress, tell, config, pictures, judged, evaluated) if progress is not None and tell else progress


class Pace:
    """A callable (stage, done, total) that hands on to a bar, and tells it how many seconds are left.

    Parameters
    ----------
    progress : callable (stage, done, total)
    tell : callable (seconds)
    config : QuantizeConfig
    pictures, judged, evaluated
        As of :func:`tnnquant.pipeline.duration.stages_of`.
    """

    def __init__(
        self, progress: Progress, tell: Any, config: QuantizeConfig, pictures: int, judged: tuple[int, int],
        evaluated: int = 0,
    ):  # fmt: skip
        self._progress, self._tell = progress, tell
        self._config, self._pictures, self._judged, self._evaluated = config, pictures, judged, evaluated
        self._costs: Mapping[str, float] = {}
        self._began = 0.0
        self._stage = ""
        self._first = (0.0, 0.0)  # of the stage: when it was first told of, and how much of it was done by then
        self._speeds: dict[str, float] = {}

    def expect(self, executor: Executor, plan: QuantPlan) -> None:
        """What there is to do, as soon as a recipe knows it."""
        work = work_of(executor, plan)
        self._costs = stages_of(self._config, work, self._pictures, self._judged, self._evaluated)
        self._began = _now()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Hand on; the seconds that are left first."""
        if total and stage in self._costs:
            seconds = self._left(stage, done / total)
            if seconds is not None:
                self._tell(seconds)
        self._progress(stage, done, total)

    def _left(self, stage: str, share: float) -> float | None:
        now, costs = _now(), self._costs
        if stage != self._stage:
            self._stage, self._first = stage, (now, share)
        began, first = self._first
        if share - first >= _OWN and now > began:
            self._speeds[_kind(stage)] = (now - began) / (costs[stage] * (share - first))
        names = list(costs)
        before = sum(costs[name] for name in names[: names.index(stage)]) + share * costs[stage]
        if before < _LEAST * sum(costs.values()):
            return None
        mean = (now - self._began) / before
        rest = {name: costs[name] for name in names[names.index(stage) :]}
        rest[stage] *= 1 - share
        return sum(cost * self._speeds.get(_kind(name), mean) for name, cost in rest.items())


def _kind(stage: str) -> str:
    """Stages whose names begin alike do the same."""
    return stage.split(",")[0]


def _now() -> float:
    from tnnquant.kernels.jit import compiling_seconds

    return time.perf_counter() - compiling_seconds()
