"""Give the blobs of a model fixed places in memory: which live when, which lie inside another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod

import numpy as np

from tnnquant.engine.arena import Lifetime, allocate, blob_array, live_set, place
from tnnquant.engine.steps import Step
from tnnquant.graph import Graph
from tnnquant.layers.base import BlobSpec

__all__ = ["Placement", "plain_blobs"]


class Placement:
    """Fixed arrays for the blobs that a program may read or write.

    Parameters
    ----------
    graph : Graph
    specs : mapping of str to BlobSpec
    steps : list of Step
    constants : collection of str
        Blobs that lie elsewhere.
    late : mapping of str to int
        Blobs that are read later than the graph says, and the last step that reads each.
    apart : bool
        Every blob has memory of its own, for all of the run.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Of logical shape; rank 4 is channels-last, but for :func:`plain_blobs`.
    bytes : int
        Of all blobs: the largest live set, or a little more.
    live_bytes : int
        The largest live set: of the blobs that are needed at one step.
    """

    def __init__(
        self, graph: Graph, specs: Mapping[str, BlobSpec], steps: Sequence[Step], constants: Collection[str],
        late: Mapping[str, int], apart: bool = False,
    ):  # fmt: skip
        self._late = late
        self._graph, self._specs, self._steps, self._constants = graph, specs, steps, constants
        plain = plain_blobs(graph, specs, steps)
        self._inside = {} if apart else self._concat_inputs()
        self._relabelled = {} if apart else self._relabelled_outputs(plain)
        lives: dict[str, Lifetime] = {}
        for blob, (first, last) in self._lifetimes().items():
            root = self._root(blob)
            size = prod(specs[root].dims) * specs[root].dtype.numpy.itemsize
            first, last = (-1, len(steps)) if apart else (first, last)
            life = lives.get(root, Lifetime(size, first, last))
            lives[root] = Lifetime(size, min(life.first, first), max(life.last, last))
        offsets, self.bytes = place(lives)
        self.live_bytes = live_set(lives)
        block = allocate(self.bytes)
        self.arrays = {
            blob: blob_array(
                block, offsets[self._root(blob)], specs[blob].dims, specs[blob].dtype.numpy, is_plain=blob in plain
            )
            for blob in (*offsets, *self._relabelled)
        }
        for blob in self._inside:
            self.arrays[blob] = self._slice_of(blob)

    def _slice_of(self, blob: str) -> np.ndarray:
        parent, first = self._inside[blob]
        whole = self._slice_of(parent) if parent in self._inside else self.arrays[parent]
        return whole[:, first : first + self._specs[blob].dims[1]]

    def _root(self, blob: str) -> str:
        while blob in self._inside or blob in self._relabelled:
            blob = self._inside[blob][0] if blob in self._inside else self._relabelled[blob]
        return blob

    def _relabelled_outputs(self, plain: Collection[str]) -> dict[str, str]:
        """Blobs that are the memory of another under other dims, and that other."""
        relabelled: dict[str, str] = {}
        for step in self._steps:
            node = step.node
            if not (step.may_emit and len(node.inputs) == 1 and node.layer.relabels()) or not all(
                self._is_placed(blob, step) and self._is_linear(blob, plain) and blob not in self._inside
                for blob in (node.inputs[0], node.outputs[0])
            ):
                continue
            if self._specs[node.inputs[0]].dtype == self._specs[node.outputs[0]].dtype:
                relabelled[node.outputs[0]] = node.inputs[0]
        return relabelled

    def _is_linear(self, blob: str, plain: Collection[str]) -> bool:
        """Whether its memory runs through its elements in logical order."""
        dims = self._specs[blob].dims
        return len(dims) != 4 or blob in plain or dims[1] == 1 or dims[2] * dims[3] == 1

    def _concat_inputs(self) -> dict[str, tuple[str, int]]:
        """Blobs that live inside the output of a concat: (that output, first channel)."""
        inside: dict[str, tuple[str, int]] = {}
        usable = {blob for step in self._steps if step.may_emit for blob in step.node.outputs}
        for step in self._steps:
            node = step.node
            if not step.joins_in_place or not self._is_rank4(node.outputs[0], step):
                continue
            first = 0
            for blob in node.inputs:
                free = blob in usable and blob not in inside and node.inputs.count(blob) == 1
                if free and self._is_rank4(blob, step):
                    inside[blob] = (node.outputs[0], first)
                first += self._specs[blob].dims[1]
        return inside

    def _is_rank4(self, blob: str, step: Step) -> bool:
        return len(self._specs[blob].dims) == 4 and self._is_placed(blob, step)

    def _lifetimes(self) -> dict[str, tuple[int, int]]:
        """First and last step of every blob that a program may touch."""
        ends: dict[str, int] = dict(self._late)
        for number in reversed(range(len(self._steps))):
            node = self._steps[number].node
            reach = number
            if not self._steps[number].may_emit:
                # A forward may return a view of its input: that must then live as long as the outputs.
                reach = max([number, *(ends.get(blob, number) for blob in node.outputs)])
            for blob in node.inputs:
                ends[blob] = max(ends.get(blob, reach), reach)
        last = len(self._steps)
        starts = dict.fromkeys(self._graph.inputs, -1)
        for number, step in enumerate(self._steps):
            starts.update({blob: number for blob in step.node.outputs if blob not in starts})
        wanted: dict[str, tuple[int, int]] = {}
        for step in self._steps:
            if not (step.may_emit or step.joins_in_place):
                continue
            for blob in (*step.node.inputs, *step.node.outputs):
                if self._is_placed(blob, step):
                    end = last if blob in self._graph.outputs else ends.get(blob, starts[blob])
                    wanted[blob] = (starts[blob], end)
        return wanted

    def _is_placed(self, blob: str, step: Step) -> bool:
        return self._specs[blob].dtype in step.half.PLACED and blob not in self._constants


def plain_blobs(graph: Graph, specs: Mapping[str, BlobSpec], steps: Sequence[Step]) -> set[str]:
    """Blobs of rank 4 that are better C-contiguous: those that only matrix products and movements touch, and what is
    computed between them element by element, as in the attention of a transformer.
    """
    group: dict[str, str] = {}

    def root(blob: str) -> str:
        while group.setdefault(blob, blob) != blob:
            blob = group[blob]
        return blob

    fixed, moved = set(graph.inputs), set()
    for step in steps:
        node = step.node
        blobs = [blob for blob in (*node.inputs, *node.outputs) if len(specs[blob].dims) == 4]
        if node.quantized or not (node.layer.ANY_LAYOUT or node.layer.KEEPS_LAYOUT):
            fixed.update(blobs)
        elif node.layer.ANY_LAYOUT:
            moved.update(blobs)
        else:
            for blob in blobs[1:]:
                group[root(blob)] = root(blobs[0])
    kept = {root(blob) for blob in fixed}
    wanted = {root(blob) for blob in moved} - kept
    return {blob for blob in {*group, *moved} if root(blob) in wanted}
