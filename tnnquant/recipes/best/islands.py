"""Layers that are better kept in fp32: those that gain nothing from int8, and those whose rounding costs most.

A *set* is the channels whose scales are chosen together (:mod:`tnnquant.recipes.best.ranges`). To free one of
rounding, all layers that make or read its blobs must be fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tnnquant.graph.infer import Inference
from tnnquant.layers.base import QuantRole
from tnnquant.quantization.plan import QuantPlan
from tnnquant.recipes.best.slots import ScaleSlots

__all__ = ["choose_islands", "layer_macs", "useful_plan", "without"]

#: Share of the multiplications that may go back to fp32: for what is worth it, and for values that are not good yet.
BUDGET, MOST = 0.3, 0.6
#: Squared error of a part of the outputs, relative to what differs between samples, that needs no more fp32.
GOOD = 1e-4
#: A set is freed for its own sake if its share of the disturbance that is left is so many times its share of the
#: multiplications.
WORTH = 1.0
#: Share of a part's disturbance that is always taken to be left.
LEAST_LEFT = 0.01
#: Layers among fp32 ones with less than this share of the multiplications are not worth their conversions.
TINY = 0.001
LONE = "lies among fp32 layers: int8 would only add conversions"
COSTLY = "rounding what it makes or reads disturbs the outputs most"


def useful_plan(inference: Inference, plan: QuantPlan) -> QuantPlan:
    """The plan without joins and tiny groups of layers among fp32 ones, as the gates of squeeze-and-excitation are."""
    macs = layer_macs(inference)
    least = TINY * sum(macs.values())
    nodes = inference.graph.nodes
    makers = {b: p for p, node in enumerate(nodes) for b in node.outputs}
    while True:
        groups = _neighbourhoods(inference, plan)
        lone = {p for members in groups if sum(macs[p] for p in members) < least for p in members}
        for position in plan.int8:
            node = nodes[position]
            if node.layer.role != QuantRole.WEIGHTED and not any(makers.get(blob) in plan.int8 for blob in node.inputs):
                lone.add(position)
        if not lone:
            return plan
        plan = without(inference, plan, lone, LONE)


def _neighbourhoods(inference: Inference, plan: QuantPlan) -> list[set[int]]:
    """int8 layers that hang together by what one makes and another reads."""
    nodes = inference.graph.nodes
    of: dict[int, set[int]] = {}
    makers = {b: p for p in plan.int8 for b in nodes[p].outputs}
    for position in sorted(plan.int8):
        joined = {position}.union(*(of.get(makers.get(blob, -1), ()) for blob in nodes[position].inputs))
        for member in joined:
            of[member] = joined
    return list({id(members): members for members in of.values()}.values())


def without(inference: Inference, plan: QuantPlan, positions: set[int], reason: str) -> QuantPlan:
    """The plan with some layers in fp32, and with them max pooling and ReLU that no int8 layer is left before.

    Parameters
    ----------
    inference : Inference
        Of the fp32 graph.
    plan : QuantPlan
    positions : set of int
        Of the layers.
    reason : str
        Why they stay fp32, for the report.
    """
    nodes = inference.graph.nodes
    makers = {blob: p for p, node in enumerate(nodes) for blob in node.outputs}
    int8 = set(plan.int8) - positions
    reasons = {**plan.reasons, **dict.fromkeys(positions & plan.int8, reason)}
    for position in sorted(int8):
        node = nodes[position]
        if node.layer.role == QuantRole.PASS and makers.get(node.inputs[0]) not in int8:
            int8.discard(position)
            reasons[position] = "not after an int8 layer"
    touched = {blob for p in int8 for blob in (*nodes[p].inputs, *nodes[p].outputs)}
    blobs = {blob: replace(entry, parts=()) for blob, entry in plan.blobs.items() if blob in touched}
    takes = {blob: other for blob, other in plan.takes_scale_of.items() if blob in touched and other in touched}
    return QuantPlan(frozenset(int8), reasons, blobs, takes)


def layer_macs(inference: Inference) -> dict[int, int]:
    """Multiplications of every layer, by position."""
    specs = inference.specs
    return {
        position: node.layer.macs([specs[b] for b in node.inputs], [specs[b] for b in node.outputs])
        for position, node in enumerate(inference.graph.nodes)
        if position not in inference.folded
    }


def choose_islands(
    inference: Inference,
    plan: QuantPlan,
    slots: ScaleSlots,
    sets: Sequence[Sequence[str]],
    harm: np.ndarray,
    error: np.ndarray,
    is_value: np.ndarray,
    share: float | None = None,
) -> set[int]:
    """Positions of the layers to keep in fp32.

    Sets are freed in order of the disturbance they save for each multiplication, as long as they are :data:`WORTH` it
    and the :data:`BUDGET` lasts; then others, up to :data:`MOST`, for outputs that are values. A part that is
    :data:`GOOD` asks for no more. What sets disturb adds up, so that a part's error falls with the share of the
    disturbance that is gone; the parts count by what that leaves of them, so that their geometric mean falls.

    Parameters
    ----------
    inference, plan, slots
        Of the fp32 graph.
    sets : sequence of sequence of str
        Blobs of each set.
    harm : float64 (sets, parts)
        Disturbance that each alone causes, by part of the outputs.
    error : float64 (parts,)
        Squared error of the int8 model relative to the power of each part.
    is_value : bool (parts,)
        Whether the values of a part matter, not only where the largest is.
    share : float, optional
        Of the multiplications that may go back to fp32, instead of :data:`BUDGET` and :data:`MOST`.
    """
    macs = layer_macs(inference)
    total = max(sum(macs.values()), 1)
    needed = [_touching(inference, plan, slots, blobs) for blobs in sets]
    part = harm / np.maximum(harm.sum(axis=0), 1e-30)
    freed: set[int] = set()
    for budget, worth, looked_at in ((BUDGET, WORTH, np.ones(len(error), bool)), (MOST, 0.0, is_value)):
        budget = (budget if share is None else share) * total
        left = set(range(len(sets)))
        while left:
            gone = part[[positions <= freed for positions in needed]].sum(axis=0)
            asks = looked_at & (error * (1 - gone) > GOOD)
            gain = (part * asks / np.maximum(1 - gone, LEAST_LEFT)).sum(axis=1) / max(asks.sum(), 1)
            best = _best(left, needed, freed, gain, macs, worth / total)
            if best is None:
                break
            left.remove(best)
            if sum(macs[p] for p in freed | needed[best]) <= budget:
                freed |= needed[best]
    return freed


def _best(
    left: set[int], needed: Sequence[set[int]], freed: set[int], gain: np.ndarray, macs: dict, least: float
) -> int | None:
    """The set with the largest gain for each multiplication, together with those that are freed with it, if any gains
    more than ``least``."""
    chosen, most = None, least
    for number in sorted(left):
        after = freed | needed[number]
        gained = sum(gain[n] for n, positions in enumerate(needed) if positions <= after and not positions <= freed)
        value = gained / max(sum(macs[p] for p in needed[number] - freed), 1)
        if value > most:
            chosen, most = number, value
    return chosen


def _touching(inference: Inference, plan: QuantPlan, slots: ScaleSlots, blobs: Sequence[str]) -> set[int]:
    numbers = {slot for blob in blobs for slot in slots.of[blob].tolist()}
    mine = {blob for blob, of in slots.of.items() if numbers & set(of.tolist())}
    return {p for p in plan.int8 if mine & {*inference.graph.nodes[p].inputs, *inference.graph.nodes[p].outputs}}
