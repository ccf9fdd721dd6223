"""The time of every layer of a model, each run alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.threads import threads_in_use
from tnnquant.engine.executor import Executor
from tnnquant.engine.steps import Step

if TYPE_CHECKING:
    from tnnquant.engine.feed import Feed

__all__ = ["LayerTime", "layer_times", "packed_bytes", "scratch_bytes"]

_TARGET = 200e-6  # seconds of a measurement: the clock and the call are small beside it
_MOST = 64


@dataclass(frozen=True)
class LayerTime:
    """One layer.

    Attributes
    ----------
    name, type : str
    quantized : bool
        Whether it runs in int8.
    is_border : bool
        It only converts between float and int8, or brings an input to its place.
    is_program : bool
        It runs as compiled operations; otherwise it goes through Python, and its time holds that.
    macs : int
        Multiply-accumulates.
    seconds : float
        The smallest of several measurements.
    """

    name: str
    type: str
    quantized: bool
    is_border: bool
    is_program: bool
    macs: int
    seconds: float


class _Fastest:
    """The smallest time seen of each key, in the order of the keys' first appearance."""

    def __init__(self) -> None:
        self.seconds: dict[object, float] = {}
        self._is_serial = threads_in_use() == 1
        self._clock = time.thread_time if self._is_serial else time.perf_counter

    def measure(self, key: object, run: Callable[[], object], rows: np.ndarray | None) -> None:
        """Time one run; operations in a program of many, so that the call from Python does not count."""
        # Other threads must wake up at the start of a program: it is longer then.
        target = _TARGET if self._is_serial else 5 * _TARGET
        count = int(max(1, min(_MOST, target / max(self.seconds.get(key, np.inf), 1e-9))))
        function = run if rows is None else _repeated(rows, count)
        before = self._clock()
        function()
        seconds = (self._clock() - before) / (1 if rows is None else count)
        self.seconds[key] = min(self.seconds.get(key, np.inf), seconds)


def _repeated(rows: np.ndarray, count: int) -> Callable[[], None]:
    from tnnquant.kernels.program import Program

    return Program([rows] * count).run


def layer_times(
    executor: Executor, inputs: Mapping[str, np.ndarray], rounds: int = 7, budget: float = 2.0
) -> list[LayerTime]:
    """Measure every layer, in execution order; the inputs' way to their places comes first.

    The times do not add up to that of a run: alone and repeated, a layer finds its weights and its input in the caches.
    On one thread the clock is the thread's processor time.

    Parameters
    ----------
    executor : Executor
    inputs : mapping of str to ndarray
        As for :meth:`Executor.run`.
    rounds : int
        Times that the network is walked through, at least, after a first one.
    budget : float
        Seconds: with several threads, which a busy machine holds up now and then, it is walked through again and again
        for so long.
    """
    fastest = _Fastest()
    steps: dict[int, Step] = {}

    def visit(step: Step, run: Callable[[], None]) -> None:
        run()
        steps[id(step)] = step
        fastest.measure(id(step), run, step.rows)

    start, walks = time.perf_counter(), 0
    while walks <= rounds or (threads_in_use() > 1 and time.perf_counter() - start < budget):
        walks += 1
        for name, feed in executor.feeds.items():
            feed(inputs[name])
            fastest.measure(name, partial(feed, inputs[name]), _rows_of(feed, inputs[name]))
        executor.run_steps(inputs, visit)
    border = [
        LayerTime(name, "input", executor.specs[name].dtype.numpy == np.int8, True, True, 0, fastest.seconds[name])
        for name in executor.feeds
    ]
    return border + [_layer_time(executor, step, fastest.seconds[key]) for key, step in steps.items()]


def _rows_of(feed: Feed, array: np.ndarray) -> np.ndarray | None:
    return feed.rows if feed.takes(array) else None


def _layer_time(executor: Executor, step: Step, seconds: float) -> LayerTime:
    node, specs = step.node, executor.specs
    macs = node.layer.macs([specs[b] for b in node.inputs], [specs[b] for b in node.outputs])
    return LayerTime(
        node.name, node.layer.TYPE_NAMES[0], node.quantized, node.layer.CONVERTS, step.rows is not None, macs, seconds
    )


def packed_bytes(executor: Executor) -> int:
    """Memory of what layers were made ready with: packed weights, tables."""
    found: dict[int, int] = {}

    def count(value: object) -> None:
        if isinstance(value, np.ndarray):
            owner = value
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            found[id(owner)] = owner.nbytes
        elif isinstance(value, dict):
            count(list(value.values()))
        elif isinstance(value, list | tuple):
            for item in value:
                count(item)
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            count(list(vars(value).values()))

    for step in executor.steps:
        count((step.state, step.keep))
    return sum(found.values())


def scratch_bytes(executor: Executor) -> int:
    """Memory that the compiled operations work in, on all threads together."""
    from tnnquant.kernels.program import Program

    most = max((Program([step.rows]).scratch_bytes for step in executor.steps if step.rows is not None), default=0)
    return most * threads_in_use()
