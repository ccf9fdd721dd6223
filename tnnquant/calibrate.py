"""Run the fp32 model over samples and let an observer see every int8 blob."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from tnnquant.errors import CalibrationError
from tnnquant.executor import Executor
from tnnquant.plan import QuantPlan

__all__ = ["calibrate", "make_observers"]

Progress = Callable[[str, int, int], None]


def make_observers(plan: QuantPlan) -> dict:
    """One observer for each blob whose statistics are needed, of the method and with the slots that the plan says."""
    from tnnquant.observers import create_observer

    return {name: create_observer(plan.blobs[name].method, plan.blobs[name].slots) for name in plan.observed()}


def calibrate(
    executor: Executor,
    samples: Iterable,
    observers: Mapping,
    progress: Progress | None = None,
    *,
    only: int | None = None,
) -> None:
    """Show every sample to the observers, as many times as the one that wants most passes wants.

    Parameters
    ----------
    executor : Executor
    samples : re-iterable of Sample
        Each has a ``name`` and ``arrays`` by input name; the same ones in the same order each time.
    observers : mapping of str to Observer
        By blob name.
    progress : callable (stage, done, total), optional
        Told of each sample; ``stage`` is "ranges" or "histograms".
    only : int, optional
        Do this pass alone, counted from 0; the observers hold the results of those before it.

    Raises
    ------
    CalibrationError
        No samples; or a blob holds NaN or infinity: the first layer and the sample are named.
    """
    passes = max((observer.passes for observer in observers.values()), default=0)
    makers = {blob: str(node) for node in executor.graph.nodes for blob in node.outputs}
    for number in range(passes) if only is None else (only,):
        active = {name: observer for name, observer in observers.items() if number < observer.passes}
        stage = "ranges" if number == 0 else "histograms"
        count = 0
        for sample in samples:
            _show(executor, sample, active, number, makers)
            count += 1
            if progress:
                progress(stage, count, len(samples))
        if not count:
            raise CalibrationError("there is no sample to calibrate with")


def _show(executor: Executor, sample, observers: Mapping, number: int, makers: Mapping[str, str]) -> None:
    def tap(name: str, array: np.ndarray) -> None:
        observer = observers.get(name)
        if observer is None:
            return
        try:
            observer.update(array, number)
        except CalibrationError as error:
            where = f"the output {name!r} of {makers[name]}" if name in makers else f"the model input {name!r}"
            raise CalibrationError(f"{sample.name}: {where}: {error}") from error

    executor.run(sample.arrays, tap)
