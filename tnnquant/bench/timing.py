"""Time: of one function, and of several taken in turns, so that a busy machine disturbs all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tnnquant.base.threads import threads_in_use

__all__ = ["Times", "best_time", "in_turns"]


@dataclass(frozen=True)
class Times:
    """Seconds of repeated runs.

    Attributes
    ----------
    samples : float64 (repeats,)
        In the order of the runs.
    """

    samples: np.ndarray

    @property
    def minimum(self) -> float:
        return float(self.samples.min())

    @property
    def median(self) -> float:
        return float(np.median(self.samples))

    @property
    def p95(self) -> float:
        """The time that 95 % of the runs do not exceed."""
        return float(np.quantile(self.samples, 0.95, method="higher"))

    def as_dict(self) -> dict:
        """Milliseconds, as JSON types."""
        return {
            "min_ms": round(1e3 * self.minimum, 4),
            "median_ms": round(1e3 * self.median, 4),
            "p95_ms": round(1e3 * self.p95, 4),
            "runs": len(self.samples),
        }


def best_time(
    function: Callable[[], object], repeats: int = 30, budget: float = 0.5, *, is_serial: bool = False
) -> float:
    """Smallest of at least 5 and at most ``repeats`` times, in seconds, within a budget of seconds.

    On one thread, or where the function ``is_serial``, the clock is the thread's processor time, which other processes
    do not add to.
    """
    clock = time.thread_time if is_serial or threads_in_use() == 1 else time.perf_counter
    best, start = np.inf, time.perf_counter()
    for i in range(repeats):
        before = clock()
        function()
        best = min(best, clock() - before)
        if i >= 4 and time.perf_counter() - start > budget:
            break
    return best


def in_turns(functions: Sequence[Callable[[], object]], repeats: int, warm_up: int = 3) -> list[Times]:
    """Wall-clock times of several functions, run one after the other ``repeats`` times."""
    for _ in range(warm_up):
        for function in functions:
            function()
    samples = np.empty((len(functions), repeats))
    for repeat in range(repeats):
        for i, function in enumerate(functions):
            before = time.perf_counter()
            function()
            samples[i, repeat] = time.perf_counter() - before
    return [Times(row) for row in samples]
