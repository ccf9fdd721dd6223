"""How long the rest of a run takes: what is counted of each stage, at the speed of what is done so far.

A stage that is like one before (weights for a trial, and those of the result) is expected to run at its speed, any
other at that of all together. Kernels that are compiled meanwhile do not count: nothing of the kind need follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tnnquant.base.progress import Progress
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.pipeline.duration import stages_of, work_of
from tnnquant.quantization.plan import QuantPlan
from tnnquant.quantization.quantize import working_seconds

__all__ = ["Pace", "paced"]

#: The share of all that must be done before anything is said.
_LEAST = 0.04
#: A stage that is as far as this share of where it was has begun once more; threads tell of their steps in any order.
_AGAIN = 0.5


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
        self._share = 0.0
        # The stage that was told of last, and shares and times of it.
        self._shown = ""
        self._course: list[tuple[float, float]] = []
        self._courses: dict[str, list] = {}
        self._speeds: dict[str, float] = {}
        self._before: dict[str, float] = {}  # as they were when the stage began

    def expect(self, executor: Executor, plan: QuantPlan) -> None:
        """What there is to do, as soon as a recipe knows it."""
        work = work_of(executor, plan)
        self._costs = stages_of(self._config, work, self._pictures, self._judged, self._evaluated)
        self._began = working_seconds()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Hand on; the seconds that are left first."""
        if total and stage in self._costs:
            seconds = self._left(stage, done / total)
            if seconds is not None:
                self._tell(seconds)
        self._progress(stage, done, total)

    def _left(self, stage: str, share: float) -> float | None:
        now, costs = working_seconds(), self._costs
        share = self._by_time(stage, share)
        if stage != self._stage:
            self._stage, self._first = stage, (now, share)
            self._before = dict(self._speeds)
        elif share < _AGAIN * self._share:  # begun once more: what was done is lost, and so does not count
            self._began += now - self._first[0]
            self._first = now, share
        self._share = share
        names = list(costs)
        done = sum(costs[name] for name in names[: names.index(stage)]) + share * costs[stage]
        if done < _LEAST * sum(costs.values()):
            return None
        mean = (now - self._began) / done
        began, first = self._first
        if share > first and now > began:
            # The first steps of a stage are not like the others: it is believed as far as it is done.
            own, known = (now - began) / (costs[stage] * (share - first)), self._before.get(_kind(stage), mean)
            self._speeds[_kind(stage)] = share * own + (1 - share) * known
        rest = {name: costs[name] for name in names[names.index(stage) :]}
        rest[stage] *= 1 - share
        return sum(cost * self._speeds.get(_kind(name), mean) for name, cost in rest.items())


    def _by_time(self, stage: str, share: float) -> float:
        """The share of a stage's time that is over, by how a stage like it went, where one has."""
        if stage != self._shown or (self._course and share < _AGAIN * self._course[-1][0]):
            if len(self._course) > 1:
                self._courses[_kind(self._shown)] = list(zip(*self._course, strict=True))
            self._shown, self._course = stage, []
        farthest = max(share, self._course[-1][0]) if self._course else share
        self._course.append((farthest, working_seconds()))
        if _kind(stage) not in self._courses:
            return share
        shares, times = (np.array(row) for row in self._courses[_kind(stage)])
        return float(np.interp(share, shares, (times - times[0]) / max(times[-1] - times[0], 1e-9)))


def _kind(stage: str) -> str:
    """Stages whose names begin alike do the same."""
    return stage.split(",")[0]
