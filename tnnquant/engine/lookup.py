"""Functions of one int8 blob that fp32 layers compute between two int8 ones: looked up instead.

Where an activation that has no int8 form stands between int8 layers, TNN dequantizes, computes in fp32 and quantizes
again. What comes out depends on one of 256 values, so the very layers are run on all 256 of every channel when the
model is made ready; a run then takes one step that reads a byte and writes a byte. The integers are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.engine.steps import Step
from tnnquant.graph import Graph
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.int8 import pixels_of
from tnnquant.layers.reformat import Reformat

__all__ = ["Lookup", "find_lookups"]

# Layers of a function at most: Sigmoid and the product with its input are two.
_LONGEST = 6


@dataclass(frozen=True)
class Lookup:
    """Steps that one look-up replaces.

    Attributes
    ----------
    members : tuple of int
        Positions of the steps: a conversion to fp32, what is computed, a conversion to int8.
    table : int8 (C, 256) or (1, 256)
        See :mod:`tnnquant.kernels.lookup_i8`.
    """

    members: tuple[int, ...]
    table: np.ndarray

    def rows(self, steps: Sequence[Step], places: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """The op; None if one of the blobs is no image of pixels in memory."""
        from tnnquant.kernels.lookup_i8 import lookup_i8_op

        first, last = steps[self.members[0]], steps[self.members[-1]]
        if any(steps[i].rows is None or steps[i].staged for i in self.members):
            return None
        x, out = pixels_of(places[first.node.inputs[0]]), pixels_of(places[last.node.outputs[0]])
        return None if x is None or out is None else lookup_i8_op(x, self.table, out)


def find_lookups(steps: Sequence[Step], graph: Graph, specs: Mapping[str, BlobSpec]) -> list[Lookup]:
    """All functions of one int8 blob, with their tables; no step belongs to two."""
    readers: dict[str, list[int]] = {}
    for number, step in enumerate(steps):
        for blob in dict.fromkeys(step.node.inputs):
            readers.setdefault(blob, []).append(number)
    found = []
    for number, step in enumerate(steps):
        if _converts(step, DataType.FLOAT):
            members = _members(number, steps, readers, graph, specs)
            if members:
                found.append(Lookup(members, _table([steps[i] for i in members], graph, specs)))
    return found


def _converts(step: Step, to: DataType) -> bool:
    node = step.node
    return node.quantized and isinstance(node.layer, Reformat) and len(node.inputs) == 1 and node.layer.dst == to


def _members(
    first: int, steps: Sequence[Step], readers: Mapping[str, list[int]], graph: Graph, specs: Mapping[str, BlobSpec]
) -> tuple[int, ...]:
    """The steps from a conversion to fp32 to the one back; empty if something else reads what lies between."""
    start = steps[first].node.outputs[0]
    dims, blobs, members, ends = specs[start].dims, {start}, [first], []
    waiting = [start]
    while waiting:
        blob = waiting.pop()
        if blob in graph.outputs:
            return ()
        for number in readers.get(blob, []):
            step = steps[number]
            if number in members or number in ends:
                continue
            if _converts(step, DataType.INT8):
                ends.append(number)
                continue
            node = step.node
            if node.quantized or not node.layer.BY_ELEMENT or node.tensors or len(node.outputs) != 1:
                return ()
            made = node.outputs[0]
            if specs[made].dims != dims or specs[made].dtype != DataType.FLOAT or len(members) > _LONGEST:
                return ()
            members.append(number)
            blobs.add(made)
            waiting.append(made)
    if len(ends) != 1 or len(members) < 2 or max(members) > ends[0]:
        return ()
    inputs = {blob for i in members[1:] for blob in steps[i].node.inputs}
    return (*sorted(members), ends[0]) if inputs <= blobs else ()


def _table(members: Sequence[Step], graph: Graph, specs: Mapping[str, BlobSpec]) -> np.ndarray:
    """What the steps make of all values: they are run on an image of 16 x 16 of them."""
    source, result = members[0].node.inputs[0], members[-1].node.outputs[0]
    counts = {graph.scales[blob].scale.size for blob in (source, result)}
    channels = 1 if counts == {1} else specs[source].dims[1]
    dims = (1, channels, 16, 16)
    values = np.arange(256).astype(np.uint8).view(np.int8).reshape(1, 1, 16, 16)
    blobs = {source: np.ascontiguousarray(np.broadcast_to(values, dims))}
    for step in members:
        node, half = step.node, step.half
        outputs = [BlobSpec(dims, spec.dtype) for spec in step.outputs]
        inputs = [BlobSpec(dims, specs[blob].dtype) for blob in node.inputs]
        state = step.state if half.NEEDS_SCALES else half.prepare(node.tensors, inputs, outputs, None)
        blobs.update(Step(node, half, outputs, state).forward(blobs))
    return np.ascontiguousarray(blobs[result]).reshape(channels, 256)
