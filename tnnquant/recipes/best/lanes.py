"""Samples side by side: one thread per core, each with an executor of its own, so that no layer waits for threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from tnnquant.base.threads import threads_in_use

__all__ = ["MOST_LANES", "in_lanes", "side_by_side"]

#: Lanes at most; memory is needed for each.
MOST_LANES = 4


class Twinned(Protocol):
    """An executor, or a step of one."""

    def twin(self) -> Twinned:
        """The same with memory of its own."""


def in_lanes(one: Twinned, jobs: Sequence, work: Callable[[Any, Any], Any]) -> list:
    """The results of ``work(one, job)``, in the order of the jobs, with a twin of ``one`` in each lane.

    Job i runs in lane ``i % lanes`` after those before it; the number of lanes divides :data:`MOST_LANES`. Of several
    errors the one of the first job is raised.
    """
    lanes = _count(len(jobs))
    if lanes == 1:
        return [work(one, job) for job in jobs]
    return _run(one, jobs, lanes, work)


class _Shared:
    """What lanes need no twins of."""

    def twin(self) -> _Shared:
        return self


def side_by_side(jobs: Sequence, work: Callable[[Any], Any]) -> list:
    """The results of ``work(job)``, in the order of the jobs, some of which run at the same time (:func:`in_lanes`)."""
    return in_lanes(_Shared(), jobs, lambda _, job: work(job))


def _count(jobs: int) -> int:
    affordable = min(threads_in_use(), jobs, MOST_LANES)
    return next((lanes for lanes in (4, 2) if lanes <= affordable), 1)


def _run(one: Twinned, jobs: Sequence, lanes: int, work: Callable[[Any, Any], Any]) -> list:
    import tnnquant.kernels.stats  # noqa: F401 - threads must not import what they share
    from tnnquant.kernels.program import one_thread

    results: list = [None] * len(jobs)
    failed: list[tuple[int, BaseException]] = []

    def run(lane: int) -> None:
        number = lane
        try:
            with one_thread():
                mine = one.twin()
                for number in range(lane, len(jobs), lanes):
                    if failed and min(failed, key=lambda entry: entry[0])[0] < number:
                        return
                    results[number] = work(mine, jobs[number])
        except BaseException as error:  # raised again below
            failed.append((number, error))

    with ThreadPoolExecutor(lanes, thread_name_prefix="tnnquant-recipe") as pool:
        list(pool.map(run, range(lanes)))
    if failed:
        raise min(failed, key=lambda entry: entry[0])[1]
    return results
