"""Layers that are better left in fp32: those that gain nothing from int8, and those whose rounding costs most.

A *set* is the channels whose scales are chosen together (:mod:`tnnquant.recipes.ranges`). To free one of rounding, all
layers that make or read its blobs must be fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tnnquant.infer import Inference
from tnnquant.layers.base import QuantRole
from tnnquant.plan import QuantPlan
from tnnquant.recipes.slots import ScaleSlots

__all__ = ["choose_islands", "layer_macs", "useful_plan", "without"]

#: Share of the multiplications that may go back to fp32.
BUDGET = 0.2
#: Squared error of a part of the outputs, relative to its power, that needs no more fp32: a cosine of about 0.9995.
GOOD = 0.001
#: A set is freed for its own sake only if it makes up this share of all disturbance.
WORTH = 0.025
#: A lone layer of less than this share of the multiplications is not worth two conversions.
TINY = 0.001
LONE = "lies among fp32 layers: int8 would only add conversions"
COSTLY = "rounding what it makes or reads disturbs the outputs most"


def useful_plan(inference: Inference, plan: QuantPlan) -> QuantPlan:
    """The plan without joins and tiny layers that lie among fp32 layers alone."""
    macs = layer_macs(inference)
    total = sum(macs.values())
    makers = {b: p for p, node in enumerate(inference.graph.nodes) for b in node.outputs}
    while True:
        readers: dict[str, list[int]] = {}
        for position in plan.int8:
            for blob in inference.graph.nodes[position].inputs:
                readers.setdefault(blob, []).append(position)
        lone = set()
        for position in plan.int8:
            node = inference.graph.nodes[position]
            near = any(makers.get(blob) in plan.int8 for blob in node.inputs) or any(b in readers for b in node.outputs)
            if node.layer.role == QuantRole.WEIGHTED:
                if not near and macs[position] < TINY * total:
                    lone.add(position)
            elif not any(makers.get(blob) in plan.int8 for blob in node.inputs):
                lone.add(position)
        if not lone:
            return plan
        plan = without(inference, plan, lone, LONE)


def without(inference: Inference, plan: QuantPlan, positions: set[int], reason: str) -> QuantPlan:
    """The plan with some layers in fp32, and with them max pooling and ReLU that no int8 layer is left before."""
    nodes = inference.graph.nodes
    makers = {blob: p for p, node in enumerate(nodes) for blob in node.outputs}
    int8 = set(plan.int8) - positions
    reasons = {**plan.reasons, **dict.fromkeys(positions & plan.int8, reason)}
    for position in sorted(int8):
        node = nodes[position]
        if node.layer.role == QuantRole.PASS and makers.get(node.inputs[0]) not in int8:
            int8.discard(position)
            reasons[position] = "not behind an int8 layer"
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
) -> set[int]:
    """Positions of the layers to keep in fp32.

    Sets are freed in order of the disturbance they save for each multiplication, as long as they are :data:`WORTH` it
    and the :data:`BUDGET` lasts; then others, while a part of the outputs is not :data:`GOOD` yet, for that part. What
    sets disturb adds up, so that a part's error falls with the share of the disturbance that is gone.

    Parameters
    ----------
    inference, plan, slots
        Of the fp32 graph.
    sets : sequence of sequence of str
        Blobs of each set.
    harm : float64 (sets, parts)
        Disturbance that each alone causes, by part of the outputs.
    error : float64 (parts,)
        Squared error of the int8 model relative to the power of each part; 0 for parts that are not looked at.
    """
    macs = layer_macs(inference)
    budget = BUDGET * max(sum(macs.values()), 1)
    needed = [_touching(inference, plan, slots, blobs) for blobs in sets]
    share = harm / np.maximum(harm.sum(axis=0), 1e-30)
    left, freed, gone = list(range(len(sets))), set(), np.zeros(len(error))
    worth = share.mean(axis=1) >= WORTH
    while left:
        gain = share.mean(axis=1) * worth
        if not gain[left].any():  # what is worth it by itself goes first
            gain = (share * (error * (1 - gone) > GOOD)).mean(axis=1)
        price = {number: sum(macs[p] for p in needed[number] - freed) for number in left}
        best = max(left, key=lambda number: (gain[number] / max(price[number], 1), -number))
        if gain[best] <= 0:
            break
        left.remove(best)
        if sum(macs[p] for p in freed | needed[best]) <= budget:
            freed |= needed[best]
            done = [number for number in left if needed[number] <= freed]
            left = [number for number in left if number not in done]
            gone += share[[best, *done]].sum(axis=0)
    return freed


def _touching(inference: Inference, plan: QuantPlan, slots: ScaleSlots, blobs: Sequence[str]) -> set[int]:
    numbers = {slot for blob in blobs for slot in slots.of[blob].tolist()}
    mine = {blob for blob, of in slots.of.items() if numbers & set(of.tolist())}
    return {p for p in plan.int8 if mine & {*inference.graph.nodes[p].inputs, *inference.graph.nodes[p].outputs}}
