"""How much each set of scales alone disturbs the outputs: the fp32 network with some of its blobs rounded.

A sample is run once, and then, for one set after the other, from where the set's first blob is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tnnquant.engine.executor import Executor
from tnnquant.engine.work import work_after
from tnnquant.graph import Node, QuantParams
from tnnquant.graph.infer import Inference
from tnnquant.layers.softmax import Softmax
from tnnquant.recipes.best.lanes import in_lanes
from tnnquant.recipes.best.responses import responses
from tnnquant.verdict.kinds import CLASSES, VALUES, OutputKind, magnitude_parts, output_kind

__all__ = ["Disturbance", "round_in_place", "sensitivities"]

#: Scores below this are taken as this: float32 knows hardly smaller ones.
_LEAST_SCORE = 1e-30
#: Outputs whose contrast is a smaller share of their power are the same for all samples.
_SAME = 1e-6


def round_in_place(x: np.ndarray, params: QuantParams, zero: np.ndarray) -> None:
    """Replace the values of a blob by those that its int8 codes stand for.

    Parameters
    ----------
    x : float32 (N, C, ...)
    params : QuantParams
    zero : int64 (1,) or (C,)
        The code that means 0.
    """
    if x.ndim < 2:
        x = x.reshape(1, -1)
    axes = (0, *range(2, x.ndim), 1)
    pixels = x.transpose(axes)
    scale, zero = params.scale.astype(np.float32), zero.astype(np.float32)
    safe = np.where(scale > 0, scale, np.float32(1))
    codes = pixels / safe
    np.rint(codes, out=codes)
    np.clip(codes, np.float32(-128) - zero, np.float32(127) - zero, out=codes)
    np.multiply(codes, scale, out=pixels)


class Disturbance:
    """How far outputs are from what they should be, part by part.

    Parts are the rows of an output that share a unit (:mod:`tnnquant.verdict.kinds`): the scores of a detector count as
    much as its boxes in pixels, however small they are. Class scores that a softmax makes are compared before it, as
    logarithms less their mean: scores near 0 and 1 hardly move with any change of the network, and tell nothing.

    Parameters
    ----------
    inference : Inference
        Of the fp32 graph.
    wanted : sequence of mapping of str to ndarray
        The outputs of samples in fp32.
    by_score : bool
        Places count for boxes by their best score: a box without an object does not matter. Of a few samples that is
        too little to compare models by, but tells where in a model precision is needed.
    """

    def __init__(self, inference: Inference, wanted: Sequence[Mapping[str, np.ndarray]], by_score: bool = False):
        self._kinds = [output_kind(inference, name) for name in sorted(inference.graph.outputs)]
        makers = inference.graph.producers()
        self._behind_softmax = frozenset(
            kind.name for kind in self._kinds if kind.kind == CLASSES and _is_softmax(makers.get(kind.name))
        )
        self._rows: list[tuple[OutputKind, np.ndarray | slice]] = []
        for kind in self._kinds:
            parts = kind.parts or self._by_magnitude(kind, wanted)
            self._rows += [(kind, part.rows) for part in parts] or [(kind, slice(None))]
        self._wanted = [self._parts_of(outputs) for outputs in wanted]
        self._weights = _place_weights(self._wanted, self.is_value & by_score)
        # Class scores have about the same power in every sample; a picture may hold no object at all.
        own = np.array([list(map(_power, *pair)) for pair in zip(self._wanted, self._weights, strict=True)])
        contrast = _contrast(self._wanted, self._weights, own)
        self._power = np.maximum(np.where(self.is_value, contrast, own), 1e-30)

    @property
    def parts(self) -> int:
        """How many."""
        return len(self._rows)

    @property
    def values(self) -> int:
        """How many values the outputs have in one sample."""
        return sum(part.size for part in self._wanted[0])

    def of(self, number: int, got: Mapping[str, np.ndarray]) -> np.ndarray:
        """Squared error of each part for one sample, relative to its power, float64 (parts,).

        The power of class scores is the sample's own, that of values what differs between samples: the places of a
        detector's grid are no signal.
        """
        trios = zip(self._parts_of(got), self._wanted[number], self._weights[number], strict=True)
        powers = np.array([_power(part - wanted, weight) for part, wanted, weight in trios])
        shares: np.ndarray = powers / self._power[number]
        return shares

    def _parts_of(self, outputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        parts = [_part(outputs, *row) for row in self._rows]
        behind = [kind.name in self._behind_softmax for kind, _ in self._rows]
        return [_logits(part) if softmax else part for part, softmax in zip(parts, behind, strict=True)]

    @property
    def is_value(self) -> np.ndarray:
        """Of which parts, bool (parts,), the values are judged, not the best class."""
        return np.array([kind.kind == VALUES for kind, _ in self._rows])

    @staticmethod
    def _by_magnitude(kind: OutputKind, wanted: Sequence[Mapping[str, np.ndarray]]) -> tuple:
        if kind.kind != VALUES or kind.rows < 2:
            return ()
        items = [item for outputs in wanted for item in kind.items(outputs[kind.name], len(outputs[kind.name]))]
        return magnitude_parts(np.max([np.abs(item.reshape(kind.rows, -1)).max(axis=1) for item in items], axis=0))


def _is_softmax(node: Node | None) -> bool:
    return node is not None and isinstance(node.layer, Softmax)


def _logits(scores: np.ndarray) -> np.ndarray:
    """What the softmax read, (items, classes, 1), less its mean over the classes."""
    logarithms = np.log(np.maximum(scores, _LEAST_SCORE))
    logits: np.ndarray = logarithms - logarithms.mean(axis=1, keepdims=True)
    return logits


def _power(part: np.ndarray, weight: np.ndarray) -> float:
    return float((np.square(part) * weight).sum())


def _place_weights(wanted: Sequence[Sequence[np.ndarray]], is_value: np.ndarray) -> list[list[np.ndarray]]:
    """How much the places of each sample's parts count, float64 broadcastable to (items, rows, places).

    A part whose values all are 0..1, beside another with as many places whose values are not, has the scores of these.
    """
    places = [part.shape[2] for part in wanted[0]]
    bounded = [all(p[i].min() >= 0 and p[i].max() <= 1 for p in wanted) for i in range(len(is_value))]
    scores = {
        i: [j for j, yes in enumerate(bounded) if yes and is_value[j] and places[j] == places[i]]
        for i in range(len(is_value))
        if is_value[i] and not bounded[i] and places[i] > 1
    }
    weights = []
    for parts in wanted:
        mine = [np.ones((1, 1, 1))] * len(is_value)
        for part, others in scores.items():
            if others:
                mine[part] = np.max([parts[j].max(axis=1, keepdims=True) for j in others], axis=0)
        weights.append(mine)
    return weights


def _contrast(
    wanted: Sequence[Sequence[np.ndarray]], weights: Sequence[Sequence[np.ndarray]], own: np.ndarray
) -> np.ndarray:
    """Power of what differs between samples, of each part, float64 (parts,); all of it if they do not differ."""
    count, power = len(wanted), own.mean(axis=0)
    mean = [sum(parts) / count for parts in zip(*wanted, strict=True)]
    differing = [
        [_power(*trio) for trio in zip(map(np.subtract, parts, mean), weight, strict=True)]
        for parts, weight in zip(wanted, weights, strict=True)
    ]
    contrast = np.mean(differing, axis=0) * count / max(count - 1, 1)
    chosen: np.ndarray = np.where(contrast > _SAME * power, contrast, power)
    return chosen


def _part(outputs: Mapping[str, np.ndarray], kind: OutputKind, rows: np.ndarray | slice) -> np.ndarray:
    array = outputs[kind.name]
    items = kind.items(array, len(array) if array.ndim else 1)
    return np.stack([item.reshape(kind.rows, -1)[rows] for item in items]).astype(np.float64)


def sensitivities(
    executor: Executor,
    sets: Sequence[Sequence[str]],
    scales: Mapping[str, QuantParams],
    zero: Mapping[str, np.ndarray],
    inputs: Sequence[Mapping[str, np.ndarray]],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The disturbance of each part of the outputs when only the blobs of one set are rounded.

    Parameters
    ----------
    executor : Executor
        Of the fp32 graph.
    sets : sequence of sequence of str
        Blob names.
    scales, zero
        By blob name.
    inputs : sequence of mapping of str to ndarray
        Samples.
    progress : callable (done, total), optional
        Both are amounts of work, because runs begin at different layers.

    Returns
    -------
    harm : float64 (sets, parts)
    is_value : bool (parts,)
        Of which parts, as these samples show them, the values are judged, not the best class.
    """
    names = frozenset(blob for blobs in sets for blob in blobs)
    shifts = _Shifts(names - responses(executor.graph).keys(), scales, zero)
    measure = Disturbance(executor.inference, [executor.run(_copied(arrays), shifts.see) for arrays in inputs], True)
    made = {blob: number for number, step in enumerate(executor.steps) for blob in step.node.outputs}
    starts = [min(made.get(blob, -1) for blob in blobs) for blobs in sets]
    after = work_after(executor)
    work = [1 + int(1e3 * after[max(start, 0)]) for start in starts]
    # Backwards, so that what lies before a set's first blob is still as it was.
    order = sorted(range(len(sets)), key=lambda number: -starts[number])

    # One entry for each run that is done: threads may only append.
    done: list[int] = []

    def disturb(name: str, x: np.ndarray) -> None:
        round_in_place(x, scales[name], zero[name])
        shifts.undo(name, x)

    def disturbed(mine: Executor, job: tuple) -> np.ndarray:
        sample, arrays = job
        mine = mine.keeping()
        mine.run(_copied(arrays), lambda name, x: None)
        found = np.zeros((len(sets), measure.parts))
        for number in order:
            chosen = frozenset(sets[number])

            found[number] = measure.of(sample, mine.rerun(_copied(arrays), starts[number], disturb, chosen))
            if progress:
                done.append(work[number])
                progress(sum(done), sum(work) * len(inputs))
        return found

    found = in_lanes(executor, list(enumerate(inputs)), disturbed)
    means: np.ndarray = np.mean(found, axis=0).reshape(len(sets), measure.parts)
    return means, measure.is_value


class _Shifts:
    """The mean error that rounding makes in each channel: the biases of the int8 model undo it."""

    def __init__(self, names: frozenset[str], scales: Mapping[str, QuantParams], zero: Mapping[str, np.ndarray]):
        self._names, self._scales, self._zero = names, scales, zero
        self._sums: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    def see(self, name: str, x: np.ndarray) -> None:
        """Take in a blob of one more sample."""
        if name not in self._names or x.ndim < 2:
            return
        rounded = x.copy()
        round_in_place(rounded, self._scales[name], self._zero[name])
        axes = (0, *range(2, x.ndim))
        error = np.subtract(rounded, x, out=rounded).sum(axis=axes, dtype=np.float64)
        self._sums[name] = self._sums.get(name, 0.0) + error
        self._counts[name] = self._counts.get(name, 0) + x.size // x.shape[1]

    def undo(self, name: str, x: np.ndarray) -> None:
        """Take the mean error off a rounded blob."""
        if name in self._sums:
            mean = (self._sums[name] / self._counts[name]).astype(np.float32)
            x -= mean.reshape(1, -1, *(1,) * (x.ndim - 2))


def _copied(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in arrays.items()}
