"""Channels that are made several times, each rounded elsewhere: a finer code for those whose rounding does most harm.

The output of a first convolution that a depthwise one reads with padding has 7 bits, and a few of its channels can
carry most of the error of a whole network. Such a channel is made n times by biases that differ by 1/n of a step of its
codes. The layers after it do with each what they did with the one, and the layer that adds channels up takes 1/n of
each: the mean of the n codes has n times as many values, and n**2 times less error power. In fp32 nothing changes.

A *site* is a blob, the convolution that makes it, a depthwise one or a max pooling that alone reads it, if any, and the
convolutions without groups that read it, or what stands between makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tnnquant.engine.executor import Executor
from tnnquant.graph import Node, QuantParams
from tnnquant.graph.infer import Inference
from tnnquant.graph.repeats import Site, sites_of_graph, weight_of
from tnnquant.kernels.geometry import NO_ACTIVATION, RELU, RELU6
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.weighted import fused_activation
from tnnquant.quantization.plan import QuantPlan
from tnnquant.recipes.best.full_range import CEILING, highest_codes, zero_codes
from tnnquant.recipes.best.islands import layer_macs
from tnnquant.recipes.best.lanes import in_lanes
from tnnquant.recipes.best.sensitivity import sensitivities
from tnnquant.recipes.best.slots import scale_slots

__all__ = ["JUDGED", "chosen_channels", "joins_of", "offsets_of", "sites_of"]

#: Channels are added so many at a time, as int8 kernels read so many at once. More in blobs that have many: what is no
#: whole number of vectors and tiles costs as much as a whole one.
_BLOCK, _WIDE_BLOCK, _WIDE = 4, 16, 64
#: What a block must save, as a share of the noise of all sites that is left, and in multiples of its share of the cost.
_LEAST, _WORTH = 0.003, 3.0
#: How much the share of all multiplications counts in the cost; the rest is that of the values written.
_PRODUCTS = 0.1
#: Blocks of a site, at most, as a share of its channels.
_MOST = 1.0
#: Samples that the outputs are looked at of, with one site rounded after the other, mostly; of twice as many what the
#: channels hold.
JUDGED = 4
_LEVELS = 127
_KINDS = (NO_ACTIVATION, RELU, RELU6)


def sites_of(inference: Inference, plan: QuantPlan) -> list[Site]:
    """The places of a planned graph where channels of int8 blobs may be repeated, in its order."""
    graph, specs = inference.graph, inference.specs
    int8 = {graph.nodes[position].name for position in plan.int8}
    return [site for site in sites_of_graph(graph) if _may_repeat(site, int8, specs)]


def _may_repeat(site: Site, int8: set[str], specs: Mapping[str, BlobSpec]) -> bool:
    layers = (*site.makers, *site.readers, *(join.add for join in site.joins))
    if site.joins and len({specs[blob].dims for join in site.joins for blob in (join.before, *join.add.outputs)}) > 1:
        return False
    branches = [join.branch for join in site.joins]
    return all(node.name in int8 for node in layers) and all(
        node.layer.expect(Convolution).activation_type in (_KINDS if not site.joins else (NO_ACTIVATION,))
        for node in (site.maker, site.depthwise, *branches)
        if node is not None
    )


def chosen_channels(
    executor: Executor, plan: QuantPlan, samples: Sequence, judged: int = JUDGED, streams: bool = True
) -> list[tuple[Site, np.ndarray]]:
    """The sites where channels are worth repeating, and these channels, int64 (n,): one entry per repetition.

    Parameters
    ----------
    executor : Executor
        Of the fp32 graph.
    plan : QuantPlan
    samples : sequence of Sample
    judged : int
        Samples that the outputs are looked at of.
    streams : bool
        Whether residual streams may be repeated.

    Notes
    -----
    What a site's rounding does to the outputs is measured, with that site alone rounded. Its channels share in that as
    they share in the noise: the power that rounding with the finest step that clips nothing gives in the sums of the
    readers, relative to what varies in these, through the depthwise layer where its activation lets changes pass.
    """
    sites = [site for site in sites_of(executor.inference, plan) if streams or not site.joins]
    if not sites:
        return []
    looked_at = [samples[i] for i in np.linspace(0, len(samples) - 1, min(2 * judged, len(samples))).astype(int)]
    seen = _seen(executor, sites, looked_at)
    # Of those whose peaks are known: what others cut off is no matter of repeats.
    harm = _harm(executor, plan, sites, seen, looked_at[::2])
    noise = []
    for site, whole in zip(sites, harm, strict=True):
        rows = _noise(site, seen)
        noise.append(rows * (float(whole) / max(float(rows.sum()), 1e-30)))
    chosen = _worth(noise, _costs(executor.inference, sites))
    return [(site, np.array(channels, np.int64)) for site, channels in zip(sites, chosen, strict=True) if channels]


def _costs(inference: Inference, sites: Sequence[Site]) -> list[float]:
    """What one channel of each site takes, as a share of the whole: mostly by values that are written.

    Where they are few, kernels that multiply whole tiles have room for more products: all residual streams of a
    MobileNetV2 twice, with half as many products again, took 6 % longer.
    """
    nodes, specs = inference.graph.nodes, inference.specs
    macs = {nodes[position].name: count for position, count in layer_macs(inference).items()}
    values = sum(prod(specs[blob].dims) for node in nodes for blob in node.outputs if node.name in macs)
    total = max(sum(macs.values()), 1)
    found = []
    for site in sites:
        products = sum(macs.get(node.name, 0) for node in (*site.makers, *site.readers))
        written = sum(prod(specs[blob].dims) for blob in site.blobs)
        cost = _PRODUCTS * products / total + (1 - _PRODUCTS) * written / max(values, 1)
        found.append(cost / site.channels)
    return found


def _worth(noise: Sequence[np.ndarray], costs: Sequence[float]) -> list[list[int]]:
    """The channels of each site to repeat, block by block, the one first that saves most for its multiplications.

    What a block saves is a share of the noise that is left then: that of a few channels may hide all other.
    """
    times = [np.ones(len(rows)) for rows in noise]
    chosen: list[list[int]] = [[] for _ in noise]
    while True:
        left = max(sum(float((rows / n**2).sum()) for rows, n in zip(noise, times, strict=True)), 1e-30)
        best, value = None, 1.0
        for site, (rows, cost) in enumerate(zip(noise, costs, strict=True)):
            count = _WIDE_BLOCK if len(rows) >= _WIDE else _BLOCK
            if len(chosen[site]) + count <= max(count, _MOST * len(rows)):
                block, saved = _block(rows, times[site], count)
                worth = saved / left / max(_LEAST, _WORTH * count * cost)
                if worth >= value:
                    best, value = (site, block), worth
        if best is None:
            return chosen
        site, block = best
        np.add.at(times[site], block, 1)
        chosen[site] += block


def _block(noise: np.ndarray, times: np.ndarray, count: int) -> tuple[list[int], float]:
    """The next so many channels of a site to repeat, and what noise that saves."""
    times, block, saved = times.copy(), [], 0.0
    for _ in range(count):
        gains = noise * (1 / times**2 - 1 / (times + 1) ** 2)
        best = int(np.argmax(gains))
        saved += float(gains[best])
        times[best] += 1
        block.append(best)
    return block, saved


def _harm(
    executor: Executor, plan: QuantPlan, sites: Sequence[Site], seen: Mapping[str, _Figures], samples: Sequence
) -> np.ndarray:
    """Squared error of the outputs when what a site's first layer makes is rounded, float64 (sites,), mean of parts.

    The scales are half way, by the geometric mean, between one per channel and one per blob, which is about what will
    be chosen (:mod:`tnnquant.recipes.best.ranges`).
    """
    slots = scale_slots(executor.graph, plan)
    codes = zero_codes(executor.inference, plan, slots)
    sets = [list(site.blobs if site.joins else site.blobs[:1]) for site in sites]
    scales, zero = {}, {}
    for blob in (blob for blobs in sets for blob in blobs):
        zero[blob] = codes[slots.of[blob]]
        peak = np.maximum(seen[blob].peak, 1e-30)
        step = np.sqrt(peak * peak.max()) / highest_codes(zero[blob]).max()
        scales[blob] = QuantParams(step.astype(np.float32), np.zeros(step.size, np.int8))
    inputs = [sample.arrays for sample in samples]
    harm, _ = sensitivities(executor, sets, scales, zero, inputs)
    return np.asarray(harm.mean(axis=1))


@dataclass(frozen=True, eq=False)
class _Figures:
    """Of the channels of a blob, float64 (C,) each, over places and samples: largest magnitude, shares of values that
    are not 0 and of those that are neither 0 nor cut off at 6, variance."""

    peak: np.ndarray
    alive: np.ndarray
    between: np.ndarray
    variance: np.ndarray


def _seen(executor: Executor, sites: Sequence[Site], samples: Sequence) -> dict[str, _Figures]:
    names = {blob for site in sites for blob in (*site.blobs, *(reader.outputs[0] for reader in site.readers))}

    def look(mine: Executor, sample: Any) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}

        def tap(name: str, x: np.ndarray) -> None:
            if name in names:
                rows = x.reshape(x.shape[1], -1)
                means = [rows, np.square(rows), rows != 0, (rows > 0) & (rows < CEILING)]
                found[name] = np.stack(
                    [np.abs(rows).max(axis=1), *(np.mean(part, axis=1, dtype=np.float64) for part in means)]
                )

        mine.run_sample(sample, tap)
        return found

    each = in_lanes(executor, samples, look)
    figures = {}
    for name in names:
        table = np.stack([one[name] for one in each]).astype(np.float64)
        mean, square, alive, between = table[:, 1:].mean(axis=0)
        figures[name] = _Figures(table[:, 0].max(axis=0), alive, between, np.maximum(square - mean**2, 0))
    return figures


def _noise(site: Site, seen: Mapping[str, _Figures]) -> np.ndarray:
    """Of each channel, float64 (C,)."""
    if site.joins:
        return _stream_noise(site, seen)
    made = seen[site.maker.outputs[0]]
    peak = np.minimum(made.peak, CEILING) if fused_activation(site.maker.layer) == RELU6 else made.peak
    alive = made.alive if site.depthwise is not None else seen[site.blobs[-1]].alive
    noise = _power(peak) * alive
    if site.depthwise is not None:
        passed = seen[site.depthwise.outputs[0]]
        share = (np.ones(1), passed.alive, passed.between)[fused_activation(site.depthwise.layer)]
        noise = noise * share * np.square(weight_of(site.depthwise)).reshape(site.channels, -1).sum(axis=1)
    return _arriving(noise, site.readers, seen)


def _stream_noise(site: Site, seen: Mapping[str, _Figures]) -> np.ndarray:
    """Of a residual stream: it is rounded anew at each Add, and what was rounded before stays."""
    noise, total = np.zeros(site.channels), np.zeros(site.channels)
    for blob in site.blobs:
        noise = noise + _power(seen[blob].peak)
        total += _arriving(noise, [reader for reader in site.readers if reader.inputs[0] == blob], seen)
    return total


def _power(peak: np.ndarray) -> np.ndarray:
    """Of rounding to about the steps that will be chosen."""
    power: np.ndarray = np.square(np.sqrt(peak * peak.max()) / _LEVELS) / 12
    return power


def _arriving(noise: np.ndarray, readers: Sequence[Node], seen: Mapping[str, _Figures]) -> np.ndarray:
    """The noise of each channel in the sums of its readers, relative to what varies in these."""
    total = np.zeros(len(noise))
    for reader in readers:
        power = max(float(seen[reader.outputs[0]].variance.sum()), 1e-30)
        total += noise * np.square(weight_of(reader), dtype=np.float64).sum(axis=(0, 2, 3)) / power
    return total


def offsets_of(chosen: Sequence[tuple[Site, np.ndarray]]) -> dict[str, np.ndarray]:
    """By how many steps the codes of each channel are moved before they are rounded, float64 (C,) by blob.

    Those of one channel are evenly spread around 0, within half a step: 0 stays 0. In a residual stream every other
    blob's are not moved: what they are made of is spread already, so that what is added is rounded in other places.
    """
    found: dict[str, np.ndarray] = {}
    for site, channels in chosen:
        whole = np.append(np.arange(site.channels), channels)
        times = np.bincount(whole)
        number = np.array([np.count_nonzero(whole[:i] == channel) for i, channel in enumerate(whole)])
        offsets = (2 * number + 1 - times[whole]) / (2 * times[whole])
        for depth, blob in enumerate(site.blobs):
            found[blob] = np.zeros_like(offsets) if site.joins and depth % 2 else offsets
    return found


def joins_of(chosen: Sequence[tuple[Site, np.ndarray]]) -> dict[str, tuple[str, str]]:
    """Of the blobs that are added to a stream with repeats: what the sum is called, and what they are added to."""
    joins = [join for site, _ in chosen for join in site.joins]
    return {join.branch.outputs[0]: (join.add.outputs[0], join.before) for join in joins}
