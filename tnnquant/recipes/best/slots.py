"""Which channels of which blobs must have the same scale.

TNN's int8 max pooling and ReLU do not rescale, and its concat of blobs with one scale per channel copies bytes. So what
passes through them has one scale all along. A *slot* is such a scale; every channel of every int8 blob is of one slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tnnquant.graph import Graph, Node
from tnnquant.layers.base import QuantRole
from tnnquant.layers.concat import Concat
from tnnquant.quantization.plan import QuantPlan

__all__ = ["Reader", "ScaleSlots", "scale_slots"]


@dataclass(frozen=True)
class Reader:
    """Who reads an int8 blob and must live with its error.

    Attributes
    ----------
    blob : str
    node : Node or None
        None: it is a model output.
    quantized : bool
        Whether it reads the codes; otherwise the values that they stand for.
    """

    blob: str
    node: Node | None
    quantized: bool


@dataclass(frozen=True, eq=False)
class ScaleSlots:
    """The scales to be chosen.

    Attributes
    ----------
    count : int
    of : dict of str to int64 (1,) or (C,)
        The slots of each int8 blob's channels.
    readers : tuple of Reader
        All but layers that only pass on what they read.
    """

    count: int
    of: Mapping[str, np.ndarray]
    readers: tuple[Reader, ...]


def scale_slots(graph: Graph, plan: QuantPlan) -> ScaleSlots:
    """The slots of a planned graph."""
    first, of = 0, {}
    for blob, entry in plan.blobs.items():
        of[blob] = np.arange(first, first + entry.slots)
        first += entry.slots
    parent = np.arange(first)

    def root(slot: int) -> int:
        while parent[slot] != slot:
            parent[slot] = slot = parent[parent[slot]]
        return slot

    for position in sorted(plan.int8):
        node = graph.nodes[position]
        if _passes_codes(node, plan):
            sources = np.concatenate([of[blob] for blob in node.inputs])
            for one, other in zip(sources, of[node.outputs[0]], strict=True):
                lower, upper = sorted((root(int(one)), root(int(other))))
                parent[upper] = lower
    roots, numbers = np.unique([root(slot) for slot in range(first)], return_inverse=True)
    return ScaleSlots(len(roots), {blob: numbers[slots] for blob, slots in of.items()}, _readers(graph, plan))


def _passes_codes(node: Node, plan: QuantPlan) -> bool:
    if node.layer.role == QuantRole.PASS:
        return True
    return isinstance(node.layer, Concat) and plan.blobs[node.outputs[0]].slots > 1


def _readers(graph: Graph, plan: QuantPlan) -> tuple[Reader, ...]:
    readers = []
    for position, node in enumerate(graph.nodes):
        quantized = position in plan.int8
        if quantized and _passes_codes(node, plan):
            continue
        readers += [Reader(blob, node, quantized) for blob in dict.fromkeys(node.inputs) if blob in plan.blobs]
    return (*readers, *(Reader(blob, None, False) for blob in graph.outputs if blob in plan.blobs))
