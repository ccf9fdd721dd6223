"""What the recipe knows of the fp32 network: gathered in one run of the samples, shared by all that is tried."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.memory import release_freed
from tnnquant.engine.executor import Executor
from tnnquant.errors import CalibrationError
from tnnquant.layers.base import QuantRole
from tnnquant.quantization.plan import QuantPlan
from tnnquant.recipes.best.histogram import DEEPEST, Histogram
from tnnquant.recipes.best.lanes import in_lanes
from tnnquant.recipes.best.patches import mean_input, outputs_at
from tnnquant.recipes.best.responses import responses
from tnnquant.recipes.best.wanted import Wanted

if TYPE_CHECKING:
    from tnnquant.inputs.references import References
    from tnnquant.inputs.samples import Sample
    from tnnquant.observers.octaves import Octaves

__all__ = ["FOLDS", "Statistics", "gather"]

#: Parts of the samples that are kept apart, so that a range can be judged on samples it was not made from.
FOLDS = 4
#: Bins of a histogram above the largest value of a few samples: with 16 to a factor of two, four times that; of so many
#: samples one is among these.
_HEADROOM, _ONE_OF = 32, 12


@dataclass(eq=False)
class Statistics:
    """Of the fp32 network.

    Attributes
    ----------
    counts : dict of str to Histogram
        Magnitudes of each int8 blob.
    positive : dict of str to Histogram
        Magnitudes of the values above 0 alone, of blobs read by an element-wise layer
        (:mod:`tnnquant.recipes.best.responses`); what is not above 0 is in the first bin.
    peak : dict of str to float32 (FOLDS, slots)
        Largest magnitudes.
    low : dict of str to float32 (slots,)
        How far the values go below 0, at least 0.
    window_sums : dict of str to float64 (G, K)
        Of each weighted int8 layer: the sum over the chosen samples of the mean window of its input.
    wanted : dict of str to list of Wanted
        Of each weighted int8 layer: some of its outputs, by chosen sample.
    chosen : tuple of int
        Numbers of the samples that layers are made from.
    samples : int
        How many there were.
    """

    counts: dict[str, Histogram]
    positive: dict[str, Histogram]
    peak: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    window_sums: dict[str, np.ndarray]
    wanted: dict[str, list[Wanted]]
    chosen: tuple[int, ...]
    samples: int

    def mean_window(self, layer: str) -> np.ndarray:
        """Of the input of a layer, over the chosen samples, float64 (G, K)."""
        return self.window_sums[layer] / len(self.chosen)


def gather(
    executor: Executor,
    plan: QuantPlan,
    samples: Sequence,
    windows: Mapping[str, int],
    chosen: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
    outputs: int = 128,
    known: Statistics | None = None,
    places: int | None = None,
    references: References | None = None,
) -> Statistics:
    """Run the samples once, fold by fold, so that one fold's full histograms are in memory at a time.

    Parameters
    ----------
    executor : Executor
        Of the fp32 graph.
    plan : QuantPlan
    samples : sequence of Sample
        Sample i belongs to fold ``i % FOLDS``.
    windows : mapping of str to int
        Windows per sample of each weighted layer's input, by layer name.
    chosen : sequence of int
        Numbers of the samples that windows are looked at of, rising.
    progress : callable (done, total), optional
    outputs : int
        Windows per sample, at most, whose outputs are kept.
    known : Statistics, optional
        Of samples before these, which are used up: the result is that of all; folds are joined with folds.
    places : int, optional
        About how many values of a channel are counted of one sample, if it has more: of evenly spread rows and columns.
        Peaks are those of all values.
    references : References, optional
        Shown the model outputs of every sample.

    Raises
    ------
    CalibrationError
        A blob holds NaN or infinity.
    """
    readers: dict[str, list] = {}
    for position in sorted(plan.int8):
        node = executor.graph.nodes[position]
        if node.layer.role == QuantRole.WEIGHTED:
            readers.setdefault(node.inputs[0], []).append(node)
    def gathered(bins: Mapping[tuple[str, bool], tuple[int, int]]) -> Statistics:
        gathering = _Gathering(executor, plan, readers, windows, outputs, bins, places)
        return _gathered(gathering, samples, chosen, progress, known, references)

    try:
        return gathered(_bins_needed(executor, plan, samples[::_ONE_OF]))
    except _BeyondError:  # a sample holds much larger values than these
        return gathered({})


def _gathered(
    gathering: _Gathering, samples: Sequence, chosen: Sequence[int],
    progress: Callable[[int, int], None] | None, known: Statistics | None, references: References | None,
) -> Statistics:  # fmt: skip
    ticker = _Ticker(progress, len(samples))

    def run(mine: Executor, job: tuple) -> _Seen | None:
        number, sample = job
        seen = _Seen({}, {}) if number in chosen else None
        given = mine.run_sample(sample, lambda name, x: gathering.show(name, x, sample, seen))
        if references is not None:
            references.see(sample, given)
        ticker.tick()
        return seen

    found: list = [None] * len(samples)
    for fold in range(FOLDS):
        numbers = range(fold, len(samples), FOLDS)
        with gathering.fold():
            results = in_lanes(gathering.executor, [(number, samples[number]) for number in numbers], run)
        for number, seen in zip(numbers, results, strict=True):
            found[number] = seen
            if seen is not None:
                gathering.add_means(seen)
    return gathering.result([found[number] for number in chosen], chosen, len(samples), known)


@dataclass(frozen=True, eq=False)
class _Seen:
    """Of one sample, by layer name: the mean window of the input, until it is added up, and some of the outputs."""

    means: dict[str, np.ndarray]
    wanted: dict[str, Wanted]


@dataclass(frozen=True, eq=False)
class _Counting:
    """How the values of one array are taken in.

    Attributes
    ----------
    at : tuple or None
        What tells whether another array lies where this one does; None: it is a copy, which no other is.
    ops : int64 (ops, WORDS)
    array : float32
    step : int
        Of every so many rows and columns values are counted.
    some : float32 or None
        Where these are copied to first, if not all are counted.
    """

    at: tuple | None
    ops: np.ndarray
    array: np.ndarray
    step: int
    some: np.ndarray | None


class _BeyondError(Exception):
    """Values lie beyond the bins that were thought to do."""


def _bins_needed(executor: Executor, plan: QuantPlan, samples: Sequence) -> dict[tuple[str, bool], tuple[int, int]]:
    """Bins to skip and to keep of each blob's histogram, of all values and of those above 0 alone (True), if
    no sample holds values :data:`_HEADROOM` bins above the largest of these; what has no entry needs all bins."""
    from tnnquant.kernels.octaves import OCTAVE_BINS, octave_edges

    edges = octave_edges()
    largest: dict[tuple[str, bool], float] = {}

    def look(name: str, x: np.ndarray) -> None:
        if name in plan.blobs and x.size:
            high, low = float(x.max()), float(x.min())
            for above, peak in ((False, max(high, -low)), (True, high)):
                largest[name, above] = max(largest.get((name, above), peak), peak)

    for sample in samples:
        executor.run_sample(sample, look)
    found: dict[tuple[str, bool], tuple[int, int]] = {}
    for key, peak in largest.items():
        if edges[1] <= peak < np.inf:
            top = int(np.searchsorted(edges, peak, side="right")) - 1
            skipped = max(top - DEEPEST - 1, 0)
            found[key] = skipped, min(top - skipped + 1 + _HEADROOM, OCTAVE_BINS - skipped)
    return found


class _Gathering:
    """Takes in blobs, one fold after the other.

    Parameters
    ----------
    executor, plan, windows
        As of :func:`gather`.
    readers : mapping of str to list of Node
        Of each blob, the weighted int8 layers.
    bins : mapping
        Of :func:`_bins_needed`.
    """

    def __init__(
        self, executor: Executor, plan: QuantPlan, readers: Mapping[str, list], windows: Mapping[str, int],
        outputs: int, bins: Mapping[tuple[str, bool], tuple[int, int]], places: int | None,
    ):  # fmt: skip
        self.executor, self._bins, self._places = executor, bins, places
        self._specs, self._readers, self._windows = executor.specs, readers, windows
        self._outputs = outputs
        self._weighted = {node.outputs[0]: node for nodes in readers.values() for node in nodes}
        self._makers = {blob: str(node) for node in executor.graph.nodes for blob in node.outputs}
        self._slots = {blob: entry.slots for blob, entry in plan.blobs.items()}
        self._shaped = sorted(responses(executor.graph).keys() & plan.blobs.keys())
        self._sums: dict[str, np.ndarray] = {}
        self._counts: dict[str, list] = {blob: [] for blob in self._slots}
        self._positive: dict[str, list] = {blob: [] for blob in self._shaped}
        self._peak: dict[str, list] = {blob: [] for blob in self._slots}
        self._low = {blob: np.zeros(slots, np.float32) for blob, slots in self._slots.items()}

    @contextmanager
    def fold(self) -> Iterator[None]:
        """What is shown within the context is of one fold, the next."""
        from tnnquant.observers import create_observer
        from tnnquant.observers.octaves import Octaves

        self._ranges = {blob: create_observer("minmax", slots) for blob, slots in self._slots.items()}
        self._octaves, self._above = (
            {
                blob: Octaves(self._slots[blob], *self._bins.get((blob, above), ()), only_positive=above)
                for blob in blobs
            }
            for above, blobs in ((False, self._slots), (True, self._shaped))
        )
        self._countings: dict[tuple[int, str], _Counting] = {}
        yield
        for blob, seen in self._ranges.items():
            known = np.isfinite(seen.low).all()
            peak = np.maximum(np.abs(seen.low), np.abs(seen.high)) if known else np.zeros(seen.slots, np.float32)
            self._peak[blob].append(peak)
            self._low[blob] = np.maximum(self._low[blob], -seen.low)
            above = self._above.pop(blob, None)
            for octaves, kept in ((self._octaves.pop(blob), self._counts), (above, self._positive)):
                if octaves is not None:
                    kept[blob].append(_trimmed(octaves))
        del self._ranges, self._countings
        release_freed()

    def show(self, name: str, x: np.ndarray, sample: Sample, seen: _Seen | None) -> None:
        """Take in a blob; notes what is asked for of the layers that make and read it."""
        if name in self._ranges:
            try:
                self._take_in(name, x)
            except CalibrationError as error:
                makers = self._makers
                where = f"the output {name!r} of {makers[name]}" if name in makers else f"the model input {name!r}"
                raise CalibrationError(f"{sample.name}: {where}: {error}") from error
        if seen is None:
            return
        for node in self._readers.get(name, ()):
            dims = self._specs[node.outputs[0]].dims
            seen.means[node.name] = mean_input(node, x, dims, self._windows[node.name])
        if name in self._weighted:
            node = self._weighted[name]
            seen.wanted[node.name] = Wanted.of(outputs_at(node, x, self._outputs))

    def _take_in(self, name: str, x: np.ndarray) -> None:
        """Count the values of a blob, and widen its range."""
        from tnnquant.kernels.program import data_address, run
        from tnnquant.kernels.walk import walkable

        if not x.size:
            return
        key, at = (threading.get_ident(), name), (data_address(x), x.shape, x.strides, x.dtype)
        counting = self._countings.get(key)
        if counting is None or counting.at != at:
            # Blobs with a place are there for every sample.
            mine = np.asarray(x, np.float32)
            mine = mine.reshape(1, -1) if x.ndim < 2 else mine
            mine = mine if walkable(mine, self._slots[name]) else np.ascontiguousarray(mine)
            is_apart = not np.may_share_memory(mine, x)
            counting = self._counting(name, mine, None if is_apart else at)
            self._countings[key] = counting
        if counting.some is not None:
            np.copyto(counting.some, counting.array[:, :, :: counting.step, :: counting.step])
        run(counting.ops)
        self._ranges[name].seen(counting.array, 0)

    def _counting(self, name: str, x: np.ndarray, at: tuple | None) -> _Counting:
        step = self._step(x)
        some = x[:, :, ::step, ::step].copy(order="K") if step > 1 else None
        ops = self._ranges[name].ops(x, 0)
        ops += [part[name].ops(x if some is None else some) for part in (self._octaves, self._above) if name in part]
        return _Counting(at, np.concatenate(ops), x, step, some)

    def _step(self, x: np.ndarray) -> int:
        """Of every so many rows and columns of a blob values are counted."""
        if self._places is None or x.ndim != 4:
            return 1
        return max(1, int(np.sqrt(x.shape[2] * x.shape[3] / self._places)))

    def add_means(self, seen: _Seen) -> None:
        """Add up the mean windows of one more sample, which are let go."""
        for name, mean in seen.means.items():
            self._sums[name] = self._sums[name] + mean if name in self._sums else mean
        seen.means.clear()

    def result(
        self, seen: Sequence[_Seen], chosen: Sequence[int], samples: int, known: Statistics | None
    ) -> Statistics:
        """What was gathered of all folds, and what was seen of each of the samples chosen; with what was known before,
        blob by blob, so that hardly anything is in memory twice."""
        peak = {blob: np.stack(folds) for blob, folds in self._peak.items()}
        wanted = {name: [one.wanted[name] for one in seen] for name in seen[0].wanted}
        if known is None:
            counts, positive = (
                {blob: _joined(folds) for blob, folds in part.items()} for part in (self._counts, self._positive)
            )
            return Statistics(counts, positive, peak, self._low, self._sums, wanted, tuple(chosen), samples)
        counts, positive = (
            {blob: before.pop(blob).merged(_joined(folds)) for blob, folds in part.items()}
            for part, before in ((self._counts, known.counts), (self._positive, known.positive))
        )
        return Statistics(
            counts,
            positive,
            {blob: np.maximum(known.peak[blob], more) for blob, more in peak.items()},
            {blob: np.maximum(known.low[blob], more) for blob, more in self._low.items()},
            {name: known.window_sums[name] + more for name, more in self._sums.items()},
            {name: known.wanted[name] + more for name, more in wanted.items()},
            (*known.chosen, *(known.samples + number for number in chosen)),
            known.samples + samples,
        )


@dataclass(frozen=True, eq=False)
class _Fold:
    """Counts of one fold: the first of the bins that hold anything, those in it and below, int64 (slots,), and those of
    the bins after it, (slots, bins) of a small type."""

    first: int
    lowest: np.ndarray
    others: np.ndarray

    @property
    def end(self) -> int:
        """The bin after the last."""
        return self.first + 1 + int(self.others.shape[1])


def _trimmed(octaves: Octaves) -> _Fold:
    from tnnquant.kernels.octaves import OCTAVE_BINS

    rows, skipped = octaves.rows(), octaves.skipped
    if skipped + octaves.bins < OCTAVE_BINS and rows[:, -1].any():
        raise _BeyondError
    used = np.flatnonzero(rows[:, 1:].any(axis=0)) + 1
    if not used.size:
        return _Fold(0, rows[:, 0], np.zeros((len(rows), 0), np.uint8))
    others = rows[:, used[0] : used[-1] + 1]
    return _Fold(skipped + int(used[0]) - 1, rows[:, 0].copy(), others.astype(np.min_scalar_type(others.max())))


def _joined(folds: list[_Fold]) -> Histogram:
    first = min(fold.first for fold in folds)
    whole = np.zeros((len(folds), len(folds[0].lowest), max(fold.end for fold in folds) - first), np.int32)
    for number, fold in enumerate(folds):
        whole[number, :, fold.first - first] = fold.lowest
        whole[number, :, fold.first - first + 1 : fold.end - first] = fold.others
    folds.clear()
    return Histogram.of(first, whole)


class _Ticker:
    """Tells of progress from several threads."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int):
        self._progress, self._total, self._done = progress, total, 0
        self._lock = threading.Lock()

    def tick(self) -> None:
        """One more sample is done."""
        with self._lock:
            self._done += 1
            if self._progress:
                self._progress(self._done, self._total)
