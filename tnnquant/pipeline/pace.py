"""How long the rest of a run takes: what each stage is expected to take, at the speed of what is done so far.

The expectation is of one machine (:mod:`tnnquant.pipeline.duration`). How many times as long it takes here is learned
on the way: of all stages together by those that are over, of a stage that is like one before (weights for a trial, and
those of the result) by that one, of the stage in progress by how far it is. Each counts as far as it is known. Kernels
that are compiled meanwhile do not count: nothing of the kind need follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import Any

import numpy as np

from tnnquant.base.progress import Progress
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.pipeline.duration import START, Pictures, stages_of, work_of
from tnnquant.quantization.plan import QuantPlan
from tnnquant.quantization.quantize import working_seconds

__all__ = ["Course", "Pace", "paced"]

#: Expected seconds of stages that must be over before anything is said.
_LEAST = 0.25
#: Expected seconds after which the speed of a stage that is over is believed as much as that of all, and the share of a
#: stage in progress after which its own is.
_KNOWN, _OWN = 0.3, 0.25
#: How much the table counts beside each stage that is over, when the speed of all is learned.
_TABLE = 0.2
#: A stage that is as far as this share of where it was has begun once more; threads tell of their steps in any order.
_AGAIN = 0.5


def paced(progress: Progress | None, config: QuantizeConfig, pictures: Pictures) -> Progress | None:
    """A bar that is told how many seconds are left; any other callable as it is."""
    tell = getattr(progress, "left", None)
    return Pace(progress, tell, config, pictures) if progress is not None and tell else progress


class Pace:
    """A callable (stage, done, total) that hands on to a bar, and tells it how many seconds are left.

    Parameters
    ----------
    progress : callable (stage, done, total)
    tell : callable (seconds)
    config : QuantizeConfig
    pictures : Pictures
    """

    def __init__(self, progress: Progress, tell: Any, config: QuantizeConfig, pictures: Pictures):
        self._progress, self._tell = progress, tell
        self._config, self._pictures = config, pictures
        self._course: Course | None = None

    def expect(self, executor: Executor, plan: QuantPlan) -> None:
        """What there is to do, as soon as a recipe knows it."""
        costs = stages_of(self._config, work_of(executor, plan), self._pictures)
        costs.pop(START, None)
        self._course = Course(costs, working_seconds()) if costs else None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Hand on; the seconds that are left first."""
        if total and self._course is not None:
            seconds = self._course.left(stage, done / total, working_seconds())
            if seconds is not None:
                self._tell(seconds)
        self._progress(stage, done, total)


class Course:
    """Where a run is among its stages.

    Parameters
    ----------
    costs : mapping of str to float
        Seconds that its stages are expected to take, in order.
    now : float
        When the first one begins.
    """

    def __init__(self, costs: Mapping[str, float], now: float):
        self._costs = {name: max(cost, 1e-3) for name, cost in costs.items()}
        self._stage = ""
        self._began = self._last = now
        self._share = 0.0
        #: Of the stages that are over, by kind: how many times as long as expected they took, as a logarithm, and the
        #: seconds that they were expected to take.
        self._seen: dict[str, tuple[float, float]] = {}
        # Shares and times of the stage in progress, and those of stages that are over, by kind.
        self._way: list[tuple[float, float]] = []
        self._ways: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def left(self, stage: str, share: float, now: float) -> float | None:
        """Seconds until the end; None while that is not known.

        Parameters
        ----------
        stage : str
        share : float
            How much of it is done, 0 to 1.
        now : float
        """
        if stage not in self._costs:
            return None
        if stage != self._stage:
            self._enter(stage)
        elif share < _AGAIN * self._share:  # begun once more: what was done is lost, and so does not count
            self._began, self._way = self._last, []
        share = min(max(share, 0.0), 1.0)
        self._share, self._last = share, now
        self._way.append((max(share, self._way[-1][0] if self._way else 0.0), now - self._began))
        return self._rest(stage, share)

    def _enter(self, stage: str) -> None:
        before = self._stage
        if before:
            took, kind = self._last - self._began, _kind(before)
            self._note(kind, took, self._costs[before])
            if len(self._way) > 1:
                shares, times = (np.array(row) for row in zip((0.0, 0.0), *self._way, strict=True))
                self._ways[kind] = shares, times / max(times[-1], 1e-9)
        self._stage, self._began, self._share, self._way = stage, self._last, 0.0, []

    def _note(self, kind: str, took: float, expected: float) -> None:
        """Of several stages of a kind the last one tells most; all of them together how sure that is."""
        known = self._seen.get(kind, (0.0, 0.0))[1]
        self._seen[kind] = log(max(took, 1e-3) / expected), known + expected

    def _rest(self, stage: str, share: float) -> float | None:
        names = list(self._costs)
        cost, kind = self._costs[stage], _kind(stage)
        # What comes before the first step of a stage is not like its steps, and known by then.
        share = self._by_time(stage, share)
        first, began = self._by_time(stage, self._way[0][0]), self._way[0][1]
        part, spent = share - first, self._way[-1][1] - began
        own = log(max(spent, 1e-3) / (cost * part)) if part > 0 else 0.0
        seen = dict(self._seen)
        known = sum(expected for _, expected in seen.values()) + share * cost
        if known < _LEAST:
            return None
        weights = {name: expected / (expected + _KNOWN) for name, (_, expected) in seen.items()}
        trusted = max(part, 0.0) ** 2 / (part**2 + _OWN**2)
        mine = trusted * cost / (cost + _KNOWN)
        common = (sum(weights[name] * seen[name][0] for name in seen) + mine * own) / (
            sum(weights.values()) + mine + _TABLE
        )
        factors = {
            name: weights[name] * seen[name][0] + (1 - weights[name]) * common if name in seen else common
            for name in map(_kind, names)
        }
        factors[kind] = trusted * own + (1 - trusted) * factors[kind]
        rest = (1 - share) * cost * exp(factors[kind])
        return rest + sum(self._costs[name] * exp(factors[_kind(name)]) for name in names[names.index(stage) + 1 :])

    def _by_time(self, stage: str, share: float) -> float:
        """The share of a stage's time that is over, by how a stage like it went, where one has."""
        way = self._ways.get(_kind(stage))
        return share if way is None else float(np.interp(share, *way))


def _kind(stage: str) -> str:
    """Stages whose names begin alike do the same."""
    return stage.split(",")[0]
