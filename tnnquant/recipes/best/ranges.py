"""Choose the scales of blobs: how far to clip, and how different the scales of a blob's channels may be.

One scale per channel rounds activations finest. But then the weights, which absorb the scales of the channels they
read, span wide ranges and are rounded coarsely. And the range of a channel, seen on few samples, is a poor guess of
what other samples hold (a classifier's channel may not have met its class). One scale per blob is the other extreme.
Between them lies a family (SmoothQuant does the same for transformers):
``scale[c] = h * own[c]**a * largest**(1 - a)``.

For each set of channels that are read together, a and h are those with the smallest error at the outputs of the layers
that read them, relative to the power of these outputs: activation noise through the weights, plus the noise of rounding
the weights. Ranges are made from three quarters of the samples and judged on the fourth, in turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import prod

import numpy as np

from tnnquant.graph import Node, QuantParams
from tnnquant.graph.infer import Inference
from tnnquant.layers.base import Layer, QuantRole
from tnnquant.layers.pooling import AVERAGE, Pooling
from tnnquant.layers.pooling_nd import Pooling1D, Pooling3D
from tnnquant.layers.weighted import Weighted
from tnnquant.observers.base import DEAD, FLOOR_SCALE
from tnnquant.recipes.best.full_range import highest_codes, limits
from tnnquant.recipes.best.histogram import Histogram
from tnnquant.recipes.best.lanes import side_by_side
from tnnquant.recipes.best.responses import best_scale, output_power, response_errors, responses
from tnnquant.recipes.best.slots import Reader, ScaleSlots
from tnnquant.recipes.best.statistics import FOLDS, Statistics
from tnnquant.verdict.kinds import CLASSES, output_kind

__all__ = ["EXPONENTS", "HEADROOM", "Choice", "balanced_scales", "gives_classes", "peak_scales"]

#: The family: exponents a and factors h.
EXPONENTS = (0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
HEADROOM = (0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
#: Second-order rounding leaves about this share of the error of plain rounding.
_ROUNDING_GAIN = 0.3
_LEVELS = 127.0
#: Least number of steps above 0 that values below 0 leave.
_FEWEST = 1
#: Errors up to these factors above the smallest count as equal to it, and as nearly equal: few samples tell no more.
_AS_GOOD, _NEARLY = 1.1, 1.5
#: Weight of a squared clipping error beside one of rounding: clipping strikes few samples, hard, and always in the same
#: direction. The second is for what makes boxes and maps, where it strikes the few places that hold an object. With
#: fewer samples than the third the weight grows by the square root, because they tell less of what others hold.
_CLIPPING, _CLIPPING_PLACES, _CLIPPING_SAMPLES = 2.0, 8.0, 48
#: No channel's scale is below this share of the largest: a channel that was dead must not saturate at once elsewhere.
_LEAST = 1e-4


@dataclass(frozen=True)
class Choice:
    """What was chosen for one set of channels.

    Attributes
    ----------
    blobs : tuple of str
        That read the set.
    exponent, headroom : float
        a and h.
    error : float
        Expected error power relative to that of the outputs.
    """

    blobs: tuple[str, ...]
    exponent: float
    headroom: float
    error: float


@dataclass(frozen=True, eq=False)
class _Cost:
    """The error of one reader: ``sum of gain * error(scale) + sum of weight noise``, relative.

    ``gain``: (C,) power with which a channel's error arrives, over the power of the output. ``smoothing``: share of
    rounding noise that is left where the reader averages. ``largest``: float32 (OC, C) largest magnitude of the
    weights, or None. ``power``: (C,) of the input's channels times the taps, over the power of the output.
    ``response``: the element-wise layer after which the error counts.
    """

    blob: str
    slots: np.ndarray
    gain: np.ndarray
    smoothing: float
    largest: np.ndarray | None
    power: np.ndarray
    response: Layer | None = None

    def weight_noise(self, scales: np.ndarray) -> np.ndarray | float:
        """Of each trial, float64 (trials,), with scales float64 (C, trials)."""
        from tnnquant.kernels.largest_products import largest_products

        if self.largest is None:
            return 0.0
        largest = largest_products(self.largest, np.ascontiguousarray(scales, np.float32)).astype(np.float64)
        steps = np.square(largest / _LEVELS).sum(axis=0)
        noise: np.ndarray = _ROUNDING_GAIN * steps / 12 * (self.power[:, None] / scales**2).sum(axis=0)
        return noise


@dataclass(frozen=True, eq=False)
class _Read:
    """A reader whose error counts, before anything is computed of it."""

    reader: Reader
    slots: np.ndarray
    response: Layer | None


def balanced_scales(
    inference: Inference, slots: ScaleSlots, statistics: Statistics, zero: np.ndarray, low: np.ndarray,
    known: dict | None = None, exponents: Sequence[float] = EXPONENTS, headroom: Sequence[float] = HEADROOM,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, QuantParams], list[Choice]]:  # fmt: skip
    """Scales of every int8 blob.

    Parameters
    ----------
    inference : Inference
        Of the fp32 graph.
    slots : ScaleSlots
    statistics : Statistics
    zero : int64 (slots.count,)
        The code that means 0 in each slot (:mod:`tnnquant.recipes.best.full_range`).
    low : float64 (slots.count,)
        How far values go below 0 that need codes below that one (:mod:`tnnquant.recipes.best.shifted_copies`); else 0.
    known : dict, optional
        What was chosen for sets of channels before, of the same statistics; those that are met again are not chosen
        again, and new ones are noted.
    exponents, headroom : sequence of float
        Those that are tried.
    progress : callable (done, total), optional
        Of sets of channels.

    Returns
    -------
    scales : dict of str to QuantParams
        Zero points are 0.
    choices : list of Choice
    """
    # Threads must not import what they share.
    import tnnquant.kernels.largest_products
    import tnnquant.kernels.mse_range
    import tnnquant.kernels.octave_errors  # noqa: F401 - for the threads

    levels, most = highest_codes(zero), limits(inference.graph, slots)
    known = {} if known is None else known
    shaped = responses(inference.graph)
    reads = [_Read(r, slots.of[r.blob], _response(r, shaped, statistics)) for r in _judged(slots)]
    peaks = np.minimum(_slot_peaks(slots, statistics, reads), most)
    components = _components(reads)
    sets = []
    for members in components:
        numbers = np.unique(np.concatenate([read.slots for read in members]))
        sets.append(_Set(numbers, levels[numbers], most[numbers], low[numbers]))
    keys = [whole.key(members) for whole, members in zip(sets, components, strict=True)]
    tick, lock = count(1), threading.Lock()

    def choose(job: tuple[list[_Read], _Set, tuple]) -> tuple[Choice, np.ndarray]:
        members, whole, key = job
        found = known.get(key)
        if found is None:
            family = [(a, h) for a in (exponents if len(whole.numbers) > 1 else (1.0,)) for h in headroom]
            found = _chosen(members, whole, peaks[:, whole.numbers], inference, statistics, family)
        if progress:
            with lock:
                progress(next(tick), len(components))
        return found

    chosen = side_by_side(list(zip(components, sets, keys, strict=True)), choose)
    known.update(zip(keys, chosen, strict=True))
    scale = np.zeros(slots.count)
    for whole, (_, mine) in zip(sets, chosen, strict=True):
        scale[whole.numbers] = mine
    choices = [choice for choice, _ in chosen]
    return {blob: _params(scale[of]) for blob, of in slots.of.items()}, choices


def _chosen(
    members: Sequence[_Read], whole: _Set, peaks: np.ndarray, inference: Inference, statistics: Statistics,
    family: Sequence[tuple[float, float]],
) -> tuple[Choice, np.ndarray]:  # fmt: skip
    """The choice for one set of channels, and their scales."""
    costs = [_cost(read, inference, statistics) for read in members]
    errors = _judge(costs, whole, peaks, family, statistics, _clipped(inference, statistics))
    peak = peaks.max(axis=0)
    best = _selected(errors, family, costs, whole.scales(peak, family))
    choice = Choice(tuple(dict.fromkeys(cost.blob for cost in costs)), *family[best], float(errors[best]))
    return choice, whole.scales(peak, [family[best]])[:, 0]


def _selected(
    errors: np.ndarray, family: Sequence[tuple[float, float]], members: Sequence[_Cost], scales: np.ndarray
) -> int:
    """The member of the family with the smallest error, or one as good as that which clips less.

    Of the channels of a map that is averaged to class scores only few have met their class: there the most even scales
    are taken that are nearly as good as the best.
    """
    if all(cost.smoothing == 1 for cost in members):
        good = np.flatnonzero(errors <= errors.min() * _AS_GOOD)
        return int(max(good, key=lambda member: (np.log(scales[:, member]).mean(), -member)))
    good = np.flatnonzero(errors <= errors.min() * _NEARLY)
    return min(good.tolist(), key=lambda member: (family[member][0], errors[member]))


def peak_scales(
    inference: Inference, slots: ScaleSlots, statistics: Statistics, zero: np.ndarray, low: np.ndarray
) -> tuple[dict[str, QuantParams], list[Choice]]:
    """Scales that put each channel's largest magnitude on the last code; otherwise as :func:`balanced_scales`."""
    levels, most = highest_codes(zero), limits(inference.graph, slots)
    peak = np.minimum(_slot_peaks(slots, statistics), most).max(axis=0)
    scale = np.zeros(slots.count)
    for of in slots.of.values():
        scale[of] = (_revived(peak[of]) + low[of]) / levels[of]
    return {blob: _params(scale[of]) for blob, of in slots.of.items()}, []


@dataclass(frozen=True, eq=False)
class _Set:
    """Slots whose scales are chosen together: their numbers, steps from what would mean 0 to the largest code, largest
    value they may mean, and how far below 0 they must go."""

    numbers: np.ndarray
    levels: np.ndarray
    most: np.ndarray
    low: np.ndarray

    def key(self, members: Sequence[_Read]) -> tuple:
        """Equal for two sets for which the same would be chosen, of the same statistics."""
        reads = tuple(
            (read.reader.blob, read.reader.node and read.reader.node.name, read.reader.quantized,
             np.searchsorted(self.numbers, read.slots).tobytes())
            for read in members
        )  # fmt: skip
        return reads, self.levels.tobytes(), self.most.tobytes(), self.low.tobytes()

    def scales(self, peak: np.ndarray, family: Sequence[tuple[float, float]]) -> np.ndarray:
        """float64 (slots, members of the family)."""
        own = (_revived(peak) + self.low) / self.levels
        largest = max(float(own.max()), 1e-30)
        own = np.maximum(own, _LEAST * largest)
        table = np.stack([h * own**a * largest ** (1 - a) for a, h in family], axis=1)
        scales: np.ndarray = np.minimum(table, (self.most / self.levels)[:, None])
        return scales

    def steps(self, scales: np.ndarray) -> np.ndarray:
        """Steps from 0 to the largest code with these scales, int64 (slots, members of the family)."""
        below = np.ceil(self.low[:, None] / scales).astype(np.int64)
        steps: np.ndarray = np.maximum(self.levels[:, None] - below, _FEWEST)
        return steps


def _params(scale: np.ndarray) -> QuantParams:
    return QuantParams(np.maximum(scale, FLOOR_SCALE).astype(np.float32), np.zeros(scale.size, np.int8))


def _revived(peak: np.ndarray) -> np.ndarray:
    """The peaks; channels that are 0 in all samples get the median, as other pictures may use them."""
    alive = peak > DEAD
    return np.where(alive, peak, np.median(peak[alive])) if alive.any() else peak


def _judged(slots: ScaleSlots) -> list[Reader]:
    """The readers, and blobs that nobody reads in int8 (TNN fuses their reader away) as if an fp32 layer did."""
    read = {reader.blob for reader in slots.readers}
    covered = {slot for reader in slots.readers for slot in slots.of[reader.blob]}
    rest = [blob for blob in slots.of if blob not in read and not covered.issuperset(slots.of[blob])]
    return [*slots.readers, *(Reader(blob, None, False) for blob in rest)]


def _slot_peaks(slots: ScaleSlots, statistics: Statistics, reads: Sequence[_Read] = ()) -> np.ndarray:
    """Largest magnitude by fold and slot, of the blobs that are read; after a response the largest that matters."""
    peaks = np.zeros((FOLDS, slots.count))
    shaped = {read.reader.blob: read.response for read in reads if read.response is not None}
    for blob in dict.fromkeys(reader.blob for reader in _judged(slots)):
        for fold in range(FOLDS):
            peak = statistics.peak[blob][fold]
            if blob in shaped and peak.any():
                peak = _LEVELS * best_scale(shaped[blob], *_sides(blob, statistics, fold), peak)
            np.maximum.at(peaks[fold], slots.of[blob], peak)
    return peaks


def _cost(read: _Read, inference: Inference, statistics: Statistics) -> _Cost:
    reader, of, response = read.reader, read.slots, read.response
    counts = statistics.counts[reader.blob]
    total_counts = np.maximum(counts.totals.sum(axis=0), 1)
    power = counts.squares / total_counts
    node = reader.node
    if response is not None:
        power = output_power(response, *_sides(reader.blob, statistics))
        total = max(float((power / total_counts).sum()), 1e-30)
        return _Cost(reader.blob, of, np.full(of.size, 1 / total), 1.0, None, power / total, response)
    if node is None or not reader.quantized or node.layer.role != QuantRole.WEIGHTED:
        total = max(float(power.sum()), 1e-30)
        smoothing = 1 / np.sqrt(_averaged(node, inference)) if node is not None and not reader.quantized else 1.0
        return _Cost(reader.blob, of, np.full(of.size, 1 / total), smoothing, None, power / total)
    layer = node.layer.expect(Weighted)
    weight = layer.weight_array(node.tensors)
    square, largest = _by_channel(weight, layer.groups, of.size)
    total = max(float((square * power).sum()), 1e-30)
    taps = int(np.prod(weight.shape[2:])) if of.size > 1 else int(np.prod(weight.shape[1:]))
    depthwise = weight.ndim == 4 and weight.shape[1] == 1
    return _Cost(reader.blob, of, square / total, 1.0, None if depthwise else largest, power * taps / total)


def _response(reader: Reader, shaped: Mapping[str, Layer], statistics: Statistics) -> Layer | None:
    """The element-wise layer that the error is measured after, if that alone reads the blob, in fp32."""
    if reader.quantized or reader.node is None or reader.blob not in statistics.positive:
        return None
    return shaped.get(reader.blob)


def _sides(blob: str, statistics: Statistics, fold: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes above 0 and below, int64 (slots, OCTAVE_BINS), of one fold or all."""
    whole, above = statistics.counts[blob].whole(fold), statistics.positive[blob].whole(fold)
    # The first bin of `above` has all that is not above 0.
    return above, np.maximum(whole - above, 0)


def _by_channel(weight: np.ndarray, groups: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the weights, the sum of squares by input channel, float64 (C,), and the largest magnitude by output and input
    channel, float32 (OC, C)."""
    count = weight.shape[0]
    if channels == 1:
        flat = np.abs(weight.reshape(count, -1))
        return np.square(flat, dtype=np.float64).sum(keepdims=True)[0], flat.max(axis=1, keepdims=True)
    taps = weight.reshape(groups, count // groups, weight.shape[1], -1)
    square = np.square(taps, dtype=np.float64).sum(axis=(1, 3)).reshape(-1)
    if groups == 1:
        return square, np.ascontiguousarray(np.abs(taps[0]).max(axis=2))
    largest = np.zeros((count, channels), np.float32)
    if weight.shape[1] > 1:  # not needed of a depthwise layer
        for group, mine in enumerate(np.abs(taps).max(axis=3)):
            rows = slice(group * (count // groups), (group + 1) * (count // groups))
            largest[rows, group * weight.shape[1] : (group + 1) * weight.shape[1]] = mine
    return square, largest


def _averaged(node: Node, inference: Inference) -> float:
    """Values that go into one output of an average pooling; 1 for other layers."""
    if not isinstance(node.layer, (Pooling, Pooling1D, Pooling3D)) or node.layer.pool_type != AVERAGE:
        return 1.0
    size, out = (prod(inference.specs[blob].dims[2:]) for blob in (node.inputs[0], node.outputs[0]))
    return max(1.0, size / max(out, 1))


def _components(reads: Sequence[_Read]) -> list[list[_Read]]:
    """Readers that share slots, in order."""
    groups: list[tuple[set, list[_Read]]] = []
    for read in reads:
        mine = set(read.slots.tolist())
        joined = [group for group in groups if group[0] & mine]
        groups = [group for group in groups if not group[0] & mine]
        members = [r for group in joined for r in group[1]] + [read]
        groups.append((mine.union(*(group[0] for group in joined)), members))
    return [members for _, members in groups]


def gives_classes(inference: Inference) -> bool:
    """Whether an output is scores of classes; else what counts, as the boxes and maps of objects, fills few places."""
    return any(output_kind(inference, name).kind == CLASSES for name in inference.graph.outputs)


def _clipped(inference: Inference, statistics: Statistics) -> float:
    """How often a squared clipping error counts."""
    few = _CLIPPING_SAMPLES / max(statistics.samples, 1)
    return float((_CLIPPING if gives_classes(inference) else _CLIPPING_PLACES) * max(1.0, few**0.5))


def _judge(
    members: Sequence[_Cost], whole: _Set, peaks: np.ndarray, family: Sequence[tuple[float, float]],
    statistics: Statistics, clipped: float,
) -> np.ndarray:  # fmt: skip
    """The error of all readers on each fold with scales made from the others, for every member of the family."""
    total = np.zeros(len(family))
    for fold in range(FOLDS):
        scales = whole.scales(np.delete(peaks, fold, axis=0).max(axis=0), family)
        for cost in members:
            at = np.searchsorted(whole.numbers, cost.slots)
            steps = whole.steps(scales)[at]
            total += cost.gain @ _reader_errors(cost, statistics, fold, scales[at], whole.levels[at], steps, clipped)
            total += cost.weight_noise(scales[at])
    return total / FOLDS


def _reader_errors(
    cost: _Cost, statistics: Statistics, fold: int, scales: np.ndarray, levels: np.ndarray, steps: np.ndarray,
    clipped: float,
) -> np.ndarray:  # fmt: skip
    """Mean squared error of each channel with each scale, after the response if there is one, float64 (C, trials)."""
    counts = statistics.counts[cost.blob]
    if cost.response is not None:
        errors = response_errors(cost.response, *_sides(cost.blob, statistics, fold), scales, clipped)
    else:
        errors = _plain_errors(counts, fold, scales, levels, steps, cost.smoothing, clipped)
    means: np.ndarray = errors / np.maximum(counts.totals[fold], 1)[:, None]
    return means


def _plain_errors(
    counts: Histogram, fold: int, scales: np.ndarray, levels: np.ndarray, steps: np.ndarray, smoothing: float,
    clipped: float,
) -> np.ndarray:  # fmt: skip
    errors = np.empty(scales.shape)
    for level in np.unique(levels):
        mine = levels == level
        rounding, clipping = counts.errors(fold, scales[mine], int(level), mine)
        if (steps[mine] < level).any():  # what is clipped is a matter of the largest value alone
            clipping = counts.errors(fold, scales[mine] * steps[mine] / level, int(level), mine)[1]
        errors[mine] = rounding * smoothing + clipped * clipping
    return errors
