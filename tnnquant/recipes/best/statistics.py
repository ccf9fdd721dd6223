"""What the recipe knows of the fp32 network: gathered in one run of the samples, shared by all that is tried."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tnnquant.engine.executor import Executor
from tnnquant.errors import CalibrationError
from tnnquant.layers.base import QuantRole
from tnnquant.quantization.plan import QuantPlan
from tnnquant.recipes.best.lanes import in_lanes
from tnnquant.recipes.best.patches import patches
from tnnquant.recipes.best.responses import responses

__all__ = ["FOLDS", "Statistics", "gather"]

#: Parts of the samples that are kept apart, so that a range can be judged on samples it was not made from.
FOLDS = 4


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of the fp32 network.

    Attributes
    ----------
    counts : dict of str to int64 (FOLDS, slots, OCTAVE_BINS)
        Magnitudes of each int8 blob (:mod:`tnnquant.kernels.octaves`).
    positive : dict of str to int64 (FOLDS, slots, OCTAVE_BINS)
        Magnitudes of the values above 0 alone, of blobs read by an element-wise layer
        (:mod:`tnnquant.recipes.best.responses`); what is not above 0 is in bin 0.
    peak : dict of str to float32 (FOLDS, slots)
        Largest magnitudes.
    low : dict of str to float32 (slots,)
        How far the values go below 0, at least 0.
    mean_patch : dict of str to float64 (samples, G, K)
        Of each weighted int8 layer: the mean window of its input at the positions of ``windows``, by sample.
    windows : dict of str to int
        Windows a sample.
    """

    counts: Mapping[str, np.ndarray]
    positive: Mapping[str, np.ndarray]
    peak: Mapping[str, np.ndarray]
    low: Mapping[str, np.ndarray]
    mean_patch: Mapping[str, np.ndarray]
    windows: Mapping[str, int]

    @property
    def samples(self) -> int:
        """How many there were, as far as weighted int8 layers tell."""
        return max(map(len, self.mean_patch.values()), default=0)

    def merged(self, other: Statistics) -> Statistics:
        """Those of these samples and, behind them, of others; folds are joined with folds."""
        return Statistics(
            {blob: counts + other.counts[blob] for blob, counts in self.counts.items()},
            {blob: counts + other.positive[blob] for blob, counts in self.positive.items()},
            {blob: np.maximum(peak, other.peak[blob]) for blob, peak in self.peak.items()},
            {blob: np.maximum(low, other.low[blob]) for blob, low in self.low.items()},
            {name: np.concatenate([means, other.mean_patch[name]]) for name, means in self.mean_patch.items()},
            self.windows,
        )


def gather(
    executor: Executor,
    plan: QuantPlan,
    samples: Sequence,
    windows: Mapping[str, int],
    progress: Callable[[str, int, int], None] | None = None,
) -> Statistics:
    """Run the samples once.

    Parameters
    ----------
    executor : Executor
        Of the fp32 graph.
    plan : QuantPlan
    samples : sequence of Sample
        Sample i belongs to fold ``i % FOLDS``.
    windows : mapping of str to int
        Windows a sample of each weighted layer's input, by layer name.
    progress : callable (stage, done, total), optional

    Raises
    ------
    CalibrationError
        A blob holds NaN or infinity.
    """
    from tnnquant.observers import create_observer
    from tnnquant.observers.octaves import Octaves

    observers = {b: [create_observer("minmax", e.slots) for _ in range(FOLDS)] for b, e in plan.blobs.items()}
    octaves = {b: [Octaves(e.slots) for _ in range(FOLDS)] for b, e in plan.blobs.items()}
    shaped = responses(executor.graph).keys() & plan.blobs.keys()
    above = {b: [Octaves(plan.blobs[b].slots) for _ in range(FOLDS)] for b in sorted(shaped)}
    readers: dict[str, list] = {}
    for position in sorted(plan.int8):
        node = executor.graph.nodes[position]
        if node.layer.role == QuantRole.WEIGHTED:
            readers.setdefault(node.inputs[0], []).append(node)
    makers = {blob: str(node) for node in executor.graph.nodes for blob in node.outputs}
    ticker = _Ticker(progress, len(samples))

    def show(name: str, x: np.ndarray, sample, fold: int, means: dict) -> None:
        if name in observers:
            try:
                observers[name][fold].update(x, 0)
            except CalibrationError as error:
                where = f"the output {name!r} of {makers[name]}" if name in makers else f"the model input {name!r}"
                raise CalibrationError(f"{sample.name}: {where}: {error}") from error
            _count(octaves[name][fold], x)
        if name in above:
            _count(above[name][fold], np.maximum(x, 0))
        for node in readers.get(name, ()):
            dims = executor.specs[node.outputs[0]].dims
            means[node.name] = patches(node, x, dims, windows[node.name]).mean(axis=1, dtype=np.float64)

    def run(mine: Executor, job: tuple) -> dict[str, np.ndarray]:
        number, sample = job
        means: dict[str, np.ndarray] = {}
        mine.run_sample(sample, lambda name, x: show(name, x, sample, number % FOLDS, means))
        ticker.tick()
        return means

    found = in_lanes(executor, list(enumerate(samples)), run)
    return Statistics(
        {blob: np.stack([fold.rows() for fold in folds]) for blob, folds in octaves.items()},
        {blob: np.stack([fold.rows() for fold in folds]) for blob, folds in above.items()},
        {b: np.stack([np.maximum(np.abs(o.low), np.abs(o.high)) if np.isfinite(o.low).all()
                      else np.zeros(o.slots, np.float32) for o in folds]) for b, folds in observers.items()},
        {b: np.max([np.maximum(-o.low, 0) for o in folds], axis=0) for b, folds in observers.items()},
        {name: np.stack([means[name] for means in found]) for name in (found[0] if found else ())},
        dict(windows),
    )  # fmt: skip


class _Ticker:
    """Tells of progress from several threads."""

    def __init__(self, progress: Callable[[str, int, int], None] | None, total: int):
        self._progress, self._total, self._done = progress, total, 0
        self._lock = threading.Lock()

    def tick(self) -> None:
        """One more sample is done."""
        with self._lock:
            self._done += 1
            if self._progress:
                self._progress("ranges", self._done, self._total)


def _count(octaves, x: np.ndarray) -> None:
    from tnnquant.kernels.program import run
    from tnnquant.kernels.walk import walkable

    x = x.reshape(1, -1) if x.ndim < 2 else x
    x = x if walkable(x, octaves.slots) else np.ascontiguousarray(x)
    run(octaves.ops(x))
