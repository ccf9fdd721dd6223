"""Choose the scales of blobs: how far to clip, and how different the scales of a blob's channels may be.

One scale a channel rounds activations finest, but then the weights, which absorb the scales of the channels they read,
span wide ranges and are rounded coarsely; and the range of a channel, seen on few samples, is a poor guess of what
other samples hold (a classifier's channel may not have met its class). One scale a blob is the other extreme. Between
them lies a family (SmoothQuant does the same for transformers): ``scale[c] = h * own[c]**a * largest**(1 - a)``.

For each set of channels that are read together, a and h are those with the smallest error at the outputs of the layers
that read them, relative to the power of these outputs: activation noise through the weights, plus the noise of rounding
the weights. Ranges are made from three quarters of the samples and judged on the fourth, in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from tnnquant.graph import Node, QuantParams
from tnnquant.graph.infer import Inference
from tnnquant.layers.base import Layer, QuantRole
from tnnquant.observers.base import DEAD, FLOOR_SCALE
from tnnquant.recipes.best.full_range import highest_codes, limits
from tnnquant.recipes.best.responses import best_scale, output_power, response_errors, responses
from tnnquant.recipes.best.slots import Reader, ScaleSlots
from tnnquant.recipes.best.statistics import FOLDS, Statistics
from tnnquant.verdict.kinds import CLASSES, output_kind

__all__ = ["Choice", "balanced_scales", "peak_scales"]

AVERAGE = 1
_EXPONENTS = (0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
_HEADROOM = (0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
#: Second-order rounding leaves about this share of the error of plain rounding.
_ROUNDING_GAIN = 0.3
_LEVELS = 127.0
#: Steps above 0 that values below it leave, at least.
_FEWEST = 1
#: Errors that are larger by these factors are as good as the smallest, as far as a few samples tell, and nearly so.
_AS_GOOD, _NEARLY = 1.1, 1.5
#: How much more a squared clipping error counts than one of rounding: it strikes few samples, hard, and all in the same
#: direction; in what makes boxes and maps (the second), few places, where something is. So many samples, or more, tell
#: what others hold; with fewer it counts more, by the square root.
_CLIPPING, _CLIPPING_PLACES, _CLIPPING_SAMPLES = 2.0, 8.0, 48
#: No channel's scale is below this share of the largest: codes of a dead channel must not blow up.
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
    rounding noise that is left where the reader averages. ``largest``: (OC, C) largest magnitude of the weights, or
    None. ``power``: (C,) of the input's channels times the taps, over the power of the output.
    ``response``: the element-wise layer behind which the error counts.
    """

    blob: str
    slots: np.ndarray
    gain: np.ndarray
    smoothing: float
    largest: np.ndarray | None
    power: np.ndarray
    response: Layer | None = None

    def weight_noise(self, scale: np.ndarray) -> float:
        if self.largest is None:
            return 0.0
        step = (self.largest * scale).max(axis=1) / _LEVELS
        return _ROUNDING_GAIN * float((step**2).sum() / 12 * (self.power / scale**2).sum())


def balanced_scales(
    inference: Inference, slots: ScaleSlots, statistics: Statistics, zero: np.ndarray, low: np.ndarray
) -> tuple[dict[str, QuantParams], list[Choice]]:
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

    Returns
    -------
    scales : dict of str to QuantParams
        Zero points are 0.
    choices : list of Choice
    """
    levels, most = highest_codes(zero), limits(inference.graph, slots)
    clipped = _clipped(inference, statistics)
    costs = [_cost(reader, inference, slots, statistics) for reader in _judged(slots)]
    peaks = np.minimum(_slot_peaks(slots, statistics, costs), most)
    scale = np.zeros(slots.count)
    choices = []
    for members in _components(costs):
        numbers = np.unique(np.concatenate([cost.slots for cost in members]))
        family = [(a, h) for a in (_EXPONENTS if len(numbers) > 1 else (1.0,)) for h in _HEADROOM]
        whole = _Set(numbers, levels[numbers], most[numbers], low[numbers])
        errors = _judge(members, whole, peaks[:, numbers], family, statistics, clipped)
        best = _selected(errors, family, members, whole.scales(peaks.max(axis=0)[numbers], family))
        choices.append(Choice(tuple(dict.fromkeys(c.blob for c in members)), *family[best], float(errors[best])))
        scale[numbers] = whole.scales(peaks.max(axis=0)[numbers], [family[best]])[:, 0]
    return {blob: _params(scale[of]) for blob, of in slots.of.items()}, choices


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
    return int(min(good, key=lambda member: (family[member][0], errors[member])))


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

    def scales(self, peak: np.ndarray, family: Sequence[tuple[float, float]]) -> np.ndarray:
        """float64 (slots, members of the family)."""
        own = (_revived(peak) + self.low) / self.levels
        largest = max(float(own.max()), 1e-30)
        own = np.maximum(own, _LEAST * largest)
        table = np.stack([h * own**a * largest ** (1 - a) for a, h in family], axis=1)
        return np.minimum(table, (self.most / self.levels)[:, None])

    def steps(self, scales: np.ndarray) -> np.ndarray:
        """Steps from 0 to the largest code with these scales, int64 (slots, members of the family)."""
        return np.maximum(self.levels[:, None] - np.ceil(self.low[:, None] / scales).astype(np.int64), _FEWEST)


def _params(scale: np.ndarray) -> QuantParams:
    return QuantParams(np.maximum(scale, FLOOR_SCALE).astype(np.float32), np.zeros(scale.size, np.int8))


def _revived(peak: np.ndarray) -> np.ndarray:
    """The peaks, of channels that no sample has awoken the median of the others: other pictures may awake them."""
    alive = peak > DEAD
    return np.where(alive, peak, np.median(peak[alive])) if alive.any() else peak


def _judged(slots: ScaleSlots) -> list[Reader]:
    """The readers, and blobs that nobody reads in int8 (TNN fuses their reader away) as if an fp32 layer did."""
    read = {reader.blob for reader in slots.readers}
    covered = {slot for reader in slots.readers for slot in slots.of[reader.blob]}
    rest = [blob for blob in slots.of if blob not in read and not covered.issuperset(slots.of[blob])]
    return [*slots.readers, *(Reader(blob, None, False) for blob in rest)]


def _slot_peaks(slots: ScaleSlots, statistics: Statistics, costs: Sequence[_Cost] = ()) -> np.ndarray:
    """Largest magnitude by fold and slot, of the blobs that are read; behind a response the largest that matters."""
    peaks = np.zeros((FOLDS, slots.count))
    shaped = {cost.blob: cost.response for cost in costs if cost.response is not None}
    for blob in dict.fromkeys(reader.blob for reader in _judged(slots)):
        for fold in range(FOLDS):
            peak = statistics.peak[blob][fold]
            if blob in shaped and peak.any():
                peak = _LEVELS * best_scale(shaped[blob], *_sides(blob, statistics, fold), peak)
            np.maximum.at(peaks[fold], slots.of[blob], peak)
    return peaks


def _cost(reader: Reader, inference: Inference, slots: ScaleSlots, statistics: Statistics) -> _Cost:
    from tnnquant.observers.octaves import second_moment

    counts = statistics.counts[reader.blob].sum(axis=0)
    power = second_moment(counts) / np.maximum(counts.sum(axis=1), 1)
    node, of = reader.node, slots.of[reader.blob]
    response = _response(reader, inference, statistics)
    if response is not None:
        power = output_power(response, *_sides(reader.blob, statistics))
        total = max(float((power / np.maximum(counts.sum(axis=1), 1)).sum()), 1e-30)
        return _Cost(reader.blob, of, np.full(of.size, 1 / total), 1.0, None, power / total, response)
    if node is None or not reader.quantized or node.layer.role != QuantRole.WEIGHTED:
        total = max(float(power.sum()), 1e-30)
        smoothing = 1 / np.sqrt(_averaged(node, inference)) if node is not None and not reader.quantized else 1.0
        return _Cost(reader.blob, of, np.full(of.size, 1 / total), smoothing, None, power / total)
    weight = node.layer.weight_array(node.tensors).astype(np.float64)
    square, largest = _by_channel(weight, getattr(node.layer, "group", 1), of.size)
    total = max(float((square.sum(axis=0) * power).sum()), 1e-30)
    taps = int(np.prod(weight.shape[2:])) if of.size > 1 else int(np.prod(weight.shape[1:]))
    depthwise = weight.ndim == 4 and weight.shape[1] == 1
    return _Cost(reader.blob, of, square.sum(axis=0) / total, 1.0, None if depthwise else largest, power * taps / total)


def _response(reader: Reader, inference: Inference, statistics: Statistics) -> Layer | None:
    """The element-wise layer that the error is measured behind, if that alone reads the blob, in fp32."""
    if reader.quantized or reader.node is None or reader.blob not in statistics.positive:
        return None
    return responses(inference.graph).get(reader.blob)


def _sides(blob: str, statistics: Statistics, fold: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes above 0 and below, int64 (slots, OCTAVE_BINS), of one fold or all."""
    whole, above = statistics.counts[blob], statistics.positive[blob]
    whole, above = (x.sum(axis=0) if fold is None else x[fold] for x in (whole, above))
    below = whole - above
    below[:, 0] = 0  # where `above` has all that is not above 0
    return above, below


def _by_channel(weight: np.ndarray, groups: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum of squares and largest magnitude of the weights by output and input channel, float64 (OC, C)."""
    count = weight.shape[0]
    if channels == 1:
        flat = np.abs(weight.reshape(count, -1))
        return (flat**2).sum(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
    taps = np.abs(weight.reshape(count, weight.shape[1], -1))
    square, largest = np.zeros((2, count, channels))
    per_group = count // groups
    for group in range(groups):
        rows = slice(group * per_group, (group + 1) * per_group)
        columns = slice(group * weight.shape[1], (group + 1) * weight.shape[1])
        square[rows, columns] = (taps[rows] ** 2).sum(axis=2)
        largest[rows, columns] = taps[rows].max(axis=2)
    return square, largest


def _averaged(node: Node, inference: Inference) -> float:
    """Values that go into one output of an average pooling; 1 for other layers."""
    if getattr(node.layer, "pool_type", 0) != AVERAGE:
        return 1.0
    size, out = (prod(inference.specs[blob].dims[2:]) for blob in (node.inputs[0], node.outputs[0]))
    return max(1.0, size / max(out, 1))


def _components(costs: Sequence[_Cost]) -> list[list[_Cost]]:
    """Costs that share slots, in order."""
    groups: list[tuple[set, list[_Cost]]] = []
    for cost in costs:
        mine = set(cost.slots.tolist())
        joined = [group for group in groups if group[0] & mine]
        groups = [group for group in groups if not group[0] & mine]
        members = [c for group in joined for c in group[1]] + [cost]
        groups.append((mine.union(*(group[0] for group in joined)), members))
    return [members for _, members in groups]


def _clipped(inference: Inference, statistics: Statistics) -> float:
    """How often a squared clipping error counts."""
    kinds = {output_kind(inference, name).kind for name in inference.graph.outputs}
    few = _CLIPPING_SAMPLES / max(statistics.samples, 1)
    return (_CLIPPING if CLASSES in kinds else _CLIPPING_PLACES) * max(1.0, few**0.5)


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
            total += [cost.weight_noise(scales[at, member]) for member in range(len(family))]
    return total / FOLDS


def _reader_errors(
    cost: _Cost, statistics: Statistics, fold: int, scales: np.ndarray, levels: np.ndarray, steps: np.ndarray,
    clipped: float,
) -> np.ndarray:  # fmt: skip
    """Mean squared error of each channel with each scale, behind the response if there is one, float64 (C, trials)."""
    counts = statistics.counts[cost.blob][fold]
    if cost.response is not None:
        rounding, clipping = response_errors(cost.response, *_sides(cost.blob, statistics, fold), scales)
        errors = rounding + clipped * clipping
    else:
        errors = _plain_errors(counts, scales, levels, steps, cost.smoothing, clipped)
    return errors / np.maximum(counts.sum(axis=1), 1)[:, None]


def _plain_errors(
    counts: np.ndarray, scales: np.ndarray, levels: np.ndarray, steps: np.ndarray, smoothing: float, clipped: float
) -> np.ndarray:
    from tnnquant.observers.octaves import rounding_errors

    errors = np.empty(scales.shape)
    for level in np.unique(levels):
        mine = levels == level
        rounding, clipping = rounding_errors(counts[mine], scales[mine], int(level))
        if (steps[mine] < level).any():  # what is clipped is a matter of the largest value alone
            clipping = rounding_errors(counts[mine], scales[mine] * steps[mine] / level, int(level))[1]
        errors[mine] = rounding * smoothing + clipped * clipping
    return errors
