"""Copies on the way from fp32 to int8 in one pass: a convolution that copies channels, and the conversion after it.

The recipe ``best`` puts such copies before int8 layers (:mod:`tnnquant.recipes.best.shifted_copies`). As layers they
cost several times what the conversion alone does, most of all for pictures of three channels. The integers are the
same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams
from tnnquant.engine.steps import Step
from tnnquant.graph import Graph
from tnnquant.graph.copies import Border, border_of
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.int8 import pixels_of
from tnnquant.layers.reformat import Reformat

__all__ = ["Bordered", "find_bordered"]


@dataclass(frozen=True, eq=False)
class Bordered:
    """Steps that one pass replaces.

    Attributes
    ----------
    members : tuple of int
        Positions of the steps: the copy, the conversion to int8.
    border : Border
    bias : float32 (C,)
    params : QuantParams
        Of the int8 blob.
    """

    members: tuple[int, ...]
    border: Border
    bias: np.ndarray
    params: QuantParams

    def rows(self, steps: Sequence[Step], places: Mapping[str, np.ndarray], keep: list) -> np.ndarray | None:
        """The ops; None if one of the blobs is no image of pixels in memory. ``keep`` gets what they read."""
        from tnnquant.kernels.eltwise_i8 import Scales, bordered_i8_ops

        first, last = steps[self.members[0]], steps[self.members[-1]]
        if first.rows is None or last.rows is None or last.staged:
            return None
        x, out = pixels_of(places[first.node.inputs[0]]), pixels_of(places[last.node.outputs[0]])
        if x is None or out is None or not (x.flags.c_contiguous and out.flags.c_contiguous):
            return None
        scales = Scales(self.params.scale, self.params.zero_point)
        ops, read = bordered_i8_ops(x, self.bias, scales, (self.border.top, self.border.left), out)
        keep += read
        return ops


def find_bordered(steps: Sequence[Step], graph: Graph, specs: Mapping[str, BlobSpec]) -> list[Bordered]:
    """All copies that only a conversion to int8 reads, with it."""
    readers: dict[str, list[int]] = {}
    for number, step in enumerate(steps):
        for blob in step.node.inputs:
            readers.setdefault(blob, []).append(number)
    found = []
    for number, step in enumerate(steps):
        border = None if step.node.quantized else border_of(step.node)
        if border is None or len(step.node.inputs) != 1:
            continue
        after = readers.get(step.node.outputs[0], [])
        if len(after) != 1 or step.node.outputs[0] in graph.outputs or not _to_int8(steps[after[0]]):
            continue
        count = specs[step.node.outputs[0]].dims[1]
        bias = step.node.tensors["bias"].float32() if "bias" in step.node.tensors else np.zeros(count, np.float32)
        params = graph.scales.get(steps[after[0]].node.outputs[0])
        if bias.size == count and params is not None:
            found.append(Bordered((number, after[0]), border, bias, params))
    return found


def _to_int8(step: Step) -> bool:
    node = step.node
    return (
        bool(node.quantized)
        and isinstance(node.layer, Reformat)
        and len(node.inputs) == 1
        and node.layer.dst == DataType.INT8
    )
