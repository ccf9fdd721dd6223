"""Run the fp32 model over samples and let an observer see every int8 blob.

Samples run side by side: each on one core, in memory of its own. That keeps every core busy, where threads that share
a layer wait for each other at the end of each; models whose memory would be too much, and samples that are fewer than
half of the cores, run one at a time on all cores. Observers take in samples in any order, so the result does not depend
on any of this.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from tnnquant.base import interrupt
from tnnquant.base.threads import threads_in_use
from tnnquant.engine.executor import Executor
from tnnquant.errors import CalibrationError
from tnnquant.inputs.references import References
from tnnquant.inputs.samples import Sample, SampleSource
from tnnquant.quantization.plan import QuantPlan

__all__ = ["Unseen", "calibrate", "make_observers"]

_LOG = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

#: Bytes that executors and their statistics may take beyond those of the first. For a model that runs on phones this is
#: enough on two cores. On a machine with many cores it bounds the memory.
_MEMORY = 256 << 20
#: Bytes of statistics per slot: a histogram and some more.
_SLOT_BYTES = 9000


@dataclass(frozen=True, eq=False)
class Unseen:
    """Samples whose statistics are kept apart in the first pass, so that a model can be made without them as well.

    Attributes
    ----------
    numbers : frozenset of int
        Their numbers among all samples (``Sample.numbers``).
    observers : dict of str to Observer
        As many as for the others, of the same methods.
    without : dict of str to Observer
        Filled in: observers that have seen the other samples alone, of methods with several passes their first.
    """

    numbers: frozenset[int]
    observers: dict
    without: dict = field(default_factory=dict)

    def has(self, sample: Sample) -> bool:
        """Whether a sample is one of them."""
        return not self.numbers.isdisjoint(sample.numbers)


def make_observers(plan: QuantPlan) -> dict:
    """One observer for each blob whose statistics are needed, of the method and with the slots that the plan says."""
    from tnnquant.observers import create_observer

    return {name: create_observer(plan.blobs[name].method, plan.blobs[name].slots) for name in plan.observed()}


def calibrate(
    executor: Executor,
    samples: SampleSource,
    observers: Mapping,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
    only: int | None = None,
    references: References | None = None,
    unseen: Unseen | None = None,
) -> None:
    """Show every sample to the observers, as many times as the one that wants most passes wants.

    Parameters
    ----------
    executor : Executor
    samples : re-iterable of Sample, with a length
        Each has a ``name`` and ``arrays`` by input name; the same ones in the same order each time.
    observers : mapping of str to Observer
        By blob name.
    progress : callable (stage, done, total), optional
        Told of each sample, in order; ``stage`` is "ranges" or "histograms".
    threads : int, optional
        Cores to use; default: as many as kernels use.
    only : int, optional
        Do this pass alone, counted from 0; the observers hold the results of those before it.
    references : References, optional
        Shown the model outputs of every sample, once, in any order and on any thread.
    unseen : Unseen, optional
        Samples that its observers see instead, in the first pass; in the end ``observers`` know of them too.

    Raises
    ------
    CalibrationError
        No samples; or a blob holds NaN or infinity: the first sample and layer are named.
    """
    passes = max((observer.passes for observer in observers.values()), default=0)
    workers = _Workers(executor, observers, len(samples), threads or threads_in_use(), references, unseen)
    try:
        for number in range(passes) if only is None else (only,):
            stage = "ranges" if number == 0 else "histograms"
            _LOG.info("pass %d of %d over %d samples: %s", number + 1, passes, len(samples), stage)
            count = 0
            for _ in workers.run(samples, number):
                interrupt.check()
                count += 1
                if progress:
                    progress(stage, count, len(samples))
            if not count:
                raise CalibrationError("there is no sample to calibrate with")
            if unseen and number == 0:
                _join(observers, unseen)
    finally:
        workers.stop()


def _join(observers: Mapping, unseen: Unseen) -> None:
    """After the first pass: the observers get to know of the samples that were kept apart."""
    for name, observer in observers.items():
        unseen.without[name] = observer.snapshot()
        observer.merge(unseen.observers.pop(name))


class _Workers:
    """Threads that each run samples on an executor of their own."""

    def __init__(
        self, executor: Executor, observers: Mapping, samples: int, threads: int, references: References | None,
        unseen: Unseen | None = None,
    ):  # fmt: skip
        self._unseen = unseen
        self._executor = executor
        self._references = references
        self._observers = observers
        self._makers = {blob: str(node) for node in executor.graph.nodes for blob in node.outputs}
        slots = sum(observer.slots for observer in observers.values()) * (2 if unseen else 1)
        affordable = min(1 + _MEMORY // (executor.blob_bytes + _SLOT_BYTES * slots), samples)
        # With less than half of the cores it is better to have all of them on each layer.
        self._count = max(1, min(threads, affordable)) if 2 * affordable >= threads else 1
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="tnnquant-calibrate")

    def run(self, samples: Iterable[Sample], number: int) -> Iterator[None]:
        """Show every sample to the observers; yields, in order, after each."""
        active = {name: observer for name, observer in self._observers.items() if number < observer.passes}
        if self._count == 1:
            for sample in samples:
                self._show(self._executor, sample, active, number)
                yield
            return
        import tnnquant.kernels.stats  # noqa: F401 - threads must not import what they share

        pending: deque = deque()
        try:
            for sample in samples:
                pending.append(self._pool.submit(self._show_alone, sample, active, number))
                while len(pending) > self._count + 1:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            # The first error in order is reported, not the one that came first.
            for future in pending:
                future.cancel()

    def stop(self) -> None:
        """End the threads, after the samples they are at."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _show_alone(self, sample: Sample, observers: Mapping, number: int) -> None:
        from tnnquant.kernels.program import one_thread

        with one_thread():
            if not hasattr(self._own, "executor"):
                self._own.executor = self._executor.twin()
            self._show(self._own.executor, sample, observers, number)

    def _show(self, executor: Executor, sample: Sample, observers: Mapping, number: int) -> None:
        others = self._unseen.observers if self._unseen and not number and self._unseen.has(sample) else None

        def tap(name: str, array: np.ndarray) -> None:
            if name not in observers:
                return
            observer = others[name] if others else observers[name]
            try:
                observer.update(array, number)
            except CalibrationError as error:
                makers = self._makers
                where = f"the output {name!r} of {makers[name]}" if name in makers else f"the model input {name!r}"
                raise CalibrationError(f"{sample.name}: {where}: {error}") from error

        outputs = executor.run_sample(sample, tap)
        if self._references is not None and number == 0:
            self._references.see(sample, outputs)
