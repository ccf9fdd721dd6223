"""How TNN's ARM device lays out a blob, and for which shapes that is the plain order N, C, H, W (rule A).

A blob of dims (d0, d1, d2, ...) is stored as [d0][ceil(d1 / 4)][d2 * d3 * ...][4]: four channels side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tnnquant.graph import Node
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.gather import Gather

__all__ = ["LANES", "is_plain", "keeps_rows"]

LANES = 4


def is_plain(dims: Sequence[int]) -> bool:
    """Whether a blob of these dims lies in memory as if its order were N, C, H, W; dims that are missing count as 1."""
    if not dims:
        return True
    channels = dims[1] if len(dims) > 1 else 1
    return prod(dims[2:]) == 1 and (dims[0] == 1 or channels % LANES == 0)


def keeps_rows(node: Node, inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec]) -> bool:
    """Whether a layer that knows the plain order alone moves whole items, which lie the same way in both orders."""
    before, after = inputs[0].dims, outputs[0].dims
    if len(before) < 2 or len(after) < 2 or before[1] % LANES or after[1] % LANES:
        return False
    kind = node.layer.TYPE_NAMES[0]
    if kind in ("Squeeze", "Unsqueeze"):
        return before[:2] == after[:2]
    if kind == "Tile":
        return len(before) == len(after) and before[2:] == after[2:]
    if kind == "Expand":
        return len(before) == len(after) and before[1:] == after[1:]
    if kind == "Gather":
        return len(inputs) == 1 and node.layer.expect(Gather).axis == 0 and len(before) == len(after)
    if kind == "ScatterND":
        indices = node.tensors.get("indices")
        return indices is not None and bool(indices.dims) and indices.dims[-1] == 1
    return False
