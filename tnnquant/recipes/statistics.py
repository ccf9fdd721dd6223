"""What the recipe knows of the fp32 network: gathered in one run of the samples, shared by all that is tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tnnquant.errors import CalibrationError
from tnnquant.executor import Executor
from tnnquant.layers.base import QuantRole
from tnnquant.plan import QuantPlan
from tnnquant.recipes.patches import patches

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
    peak : dict of str to float32 (FOLDS, slots)
        Largest magnitudes.
    mean_patch : dict of str to float64 (samples, G, K)
        Of each weighted int8 layer: the mean window of its input at the positions of ``windows``, by sample.
    windows : dict of str to int
        Windows a sample.
    """

    counts: Mapping[str, np.ndarray]
    peak: Mapping[str, np.ndarray]
    mean_patch: Mapping[str, np.ndarray]
    windows: Mapping[str, int]

    def merged(self, other: Statistics) -> Statistics:
        """Those of these samples and, behind them, of others; folds are joined with folds."""
        return Statistics(
            {blob: counts + other.counts[blob] for blob, counts in self.counts.items()},
            {blob: np.maximum(peak, other.peak[blob]) for blob, peak in self.peak.items()},
            {name: np.concatenate([means, other.mean_patch[name]]) for name, means in self.mean_patch.items()},
            self.windows,
        )


def gather(
    executor: Executor,
    plan: QuantPlan,
    samples: Sequence,
    windows: Mapping[str, int],
    progress: Callable[[str, int, int], None] | None = None,
    watch: Callable | None = None,
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
    watch : callable (sample, outputs), optional
        Shown what the network gives.

    Raises
    ------
    CalibrationError
        A blob holds NaN or infinity.
    """
    from tnnquant.observers import create_observer
    from tnnquant.observers.octaves import Octaves

    observers = {b: [create_observer("minmax", e.slots) for _ in range(FOLDS)] for b, e in plan.blobs.items()}
    octaves = {b: [Octaves(e.slots) for _ in range(FOLDS)] for b, e in plan.blobs.items()}
    readers: dict[str, list] = {}
    for position in sorted(plan.int8):
        node = executor.graph.nodes[position]
        if node.layer.role == QuantRole.WEIGHTED:
            readers.setdefault(node.inputs[0], []).append(node)
    means: dict[str, list[np.ndarray]] = {}
    makers = {blob: str(node) for node in executor.graph.nodes for blob in node.outputs}

    def show(name: str, x: np.ndarray, sample, fold: int) -> None:
        if name in observers:
            try:
                observers[name][fold].update(x, 0)
            except CalibrationError as error:
                where = f"the output {name!r} of {makers[name]}" if name in makers else f"the model input {name!r}"
                raise CalibrationError(f"{sample.name}: {where}: {error}") from error
            _count(octaves[name][fold], x)
        for node in readers.get(name, ()):
            dims = executor.specs[node.outputs[0]].dims
            mean = patches(node, x, dims, windows[node.name]).mean(axis=1, dtype=np.float64)
            means.setdefault(node.name, []).append(mean)

    for number, sample in enumerate(samples):
        outputs = executor.run(sample.arrays, lambda name, x, s=sample, f=number % FOLDS: show(name, x, s, f))
        if watch:
            watch(sample, outputs)
        if progress:
            progress("ranges", number + 1, len(samples))
    return Statistics(
        {blob: np.stack([fold.rows() for fold in folds]) for blob, folds in octaves.items()},
        {b: np.stack([np.maximum(np.abs(o.low), np.abs(o.high)) if np.isfinite(o.low).all()
                      else np.zeros(o.slots, np.float32) for o in folds]) for b, folds in observers.items()},
        {name: np.stack(parts) for name, parts in means.items()},
        dict(windows),
    )  # fmt: skip


def _count(octaves, x: np.ndarray) -> None:
    from tnnquant.kernels.program import run
    from tnnquant.kernels.walk import walkable

    x = x.reshape(1, -1) if x.ndim < 2 else x
    x = x if walkable(x, octaves.slots) else np.ascontiguousarray(x)
    run(octaves.ops(x))
