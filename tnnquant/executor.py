"""Run a graph in fp32. No layer is known here by name.

Making an :class:`Executor` infers shapes, packs weights, and gives every blob a fixed place in memory
(:mod:`tnnquant.arena`). Layers whose kernels can be put in a program (:meth:`Layer.emit`) become rows of one;
neighbours are run by a single call without returning to Python. All others run through :meth:`Layer.forward`, and
their results are copied to where a program wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from tnnquant.arena import Lifetime, allocate, blob_array, place
from tnnquant.arithmetic import exact_sums
from tnnquant.errors import GraphError, InputError, UnsupportedLayerError
from tnnquant.graph import Graph, Node
from tnnquant.infer import infer, located
from tnnquant.layers.base import Layer
from tnnquant.tensor import DataType

__all__ = ["Executor"]

Tap = Callable[[str, np.ndarray], None]


@dataclass
class _Step:
    """One node made ready.

    ``rows``: its kernel program, or None if it runs through ``forward``. ``staged``: inputs (by blob name) that must be
    copied to their fixed place first, because a ``forward`` made them elsewhere.
    """

    node: Node
    state: object
    rows: np.ndarray | None = None
    staged: list[str] = field(default_factory=list)
    forgotten: tuple[str, ...] = ()


class Executor:
    """A graph made ready to run in fp32. One run at a time: the blobs' memory is shared by all runs.

    Parameters
    ----------
    graph : Graph
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto.
    exact : bool
        Sum as TNN's CPU device does, bit for bit; False: as fast as possible (:mod:`tnnquant.arithmetic`).

    Attributes
    ----------
    graph, specs
        The graph with resolved parameters; dims and type of every blob.
    blob_bytes : int
        Memory of the blobs with fixed places: the largest live set, or a little more.

    Raises
    ------
    GraphError, UnsupportedLayerError
        The model does not fit together, or a layer cannot be run; all layers that cannot are named.
    """

    def __init__(
        self, graph: Graph, input_dims: Mapping[str, Sequence[int]] | None = None, *, exact: bool = True
    ):
        refuse_unrunnable(graph)
        self._exact = exact
        self.inference = infer(graph, input_dims)
        self.graph = self.inference.graph
        self.specs = self.inference.specs
        self._constants = {name: tensor.array() for name, tensor in self.graph.constants.items()}
        self._steps = [
            _Step(node, self._prepare(node))
            for i, node in enumerate(self.graph.nodes)
            if i not in self.inference.folded
        ]
        self._places = self._place_blobs()
        with exact_sums(exact):
            self._emit()
        self._forget()
        self._programs = self._join_programs()

    # --- once a model ---

    def _prepare(self, node: Node):
        with located(node):
            return node.layer.prepare(node.tensors, [self.specs[blob] for blob in node.inputs])

    def _place_blobs(self) -> dict[str, np.ndarray]:
        """Fixed arrays for the blobs that a program may read or write."""
        inside = self._concat_inputs()
        lives: dict[str, Lifetime] = {}
        for blob, (first, last) in self._lifetimes().items():
            root = _root(blob, inside)
            dims = self.specs[root].dims
            life = lives.get(root, Lifetime(4 * prod(dims), first, last))
            lives[root] = Lifetime(life.size, min(life.first, first), max(life.last, last))
        offsets, self.blob_bytes = place(lives)
        block = allocate(self.blob_bytes)
        arrays = {
            root: blob_array(block, offset, self.specs[root].dims, np.dtype(np.float32))
            for root, offset in offsets.items()
        }
        for blob in inside:
            arrays[blob] = self._slice_of(blob, inside, arrays)
        return arrays

    def _slice_of(self, blob: str, inside: Mapping[str, tuple[str, int]], arrays: Mapping) -> np.ndarray:
        parent, first = inside[blob]
        whole = arrays[parent] if parent not in inside else self._slice_of(parent, inside, arrays)
        return whole[:, first : first + self.specs[blob].dims[1]]

    def _concat_inputs(self) -> dict[str, tuple[str, int]]:
        """Blobs that live inside the output of a concat: (that output, first channel)."""
        inside: dict[str, tuple[str, int]] = {}
        made = {blob: step for step in self._steps for blob in step.node.outputs if _may_emit(step.node.layer)}
        joined = {s.node.outputs[0] for s in self._steps if s.node.layer.JOINS_CHANNELS}
        for step in self._steps:
            node = step.node
            if not node.layer.JOINS_CHANNELS or node.layer.axis != 1 or not self._is_float4(node.outputs[0]):
                continue
            first = 0
            for blob in node.inputs:
                usable = blob in made or blob in joined
                if usable and blob not in inside and node.inputs.count(blob) == 1 and self._is_float4(blob):
                    inside[blob] = (node.outputs[0], first)
                first += self.specs[blob].dims[1]
        return inside

    def _is_float4(self, blob: str) -> bool:
        spec = self.specs[blob]
        return len(spec.dims) == 4 and spec.dtype == DataType.FLOAT

    def _lifetimes(self) -> dict[str, tuple[int, int]]:
        """First and last step of every float blob that a program may touch."""
        wanted: dict[str, tuple[int, int]] = {}
        ends: dict[str, int] = {}
        for number in reversed(range(len(self._steps))):
            node = self._steps[number].node
            reach = number
            if not _may_emit(node.layer):
                # A forward may return a view of its input: that must then live as long as the outputs.
                reach = max([number, *(ends.get(blob, number) for blob in node.outputs)])
            for blob in node.inputs:
                ends[blob] = max(ends.get(blob, reach), reach)
        last = len(self._steps)
        starts = dict.fromkeys(self.graph.inputs, -1)
        for number, step in enumerate(self._steps):
            starts.update({blob: number for blob in step.node.outputs if blob not in starts})
        for step in self._steps:
            if _may_emit(step.node.layer) or step.node.layer.JOINS_CHANNELS:
                for blob in (*step.node.inputs, *step.node.outputs):
                    spec = self.specs[blob]
                    if spec.dtype == DataType.FLOAT and blob not in self._constants:
                        end = last if blob in self.graph.outputs else ends.get(blob, starts[blob])
                        wanted[blob] = (starts[blob], end)
        return wanted

    def _emit(self) -> None:
        """Ask every layer for its program; note which inputs a forward will have made elsewhere."""
        fixed = set()
        for step in self._steps:
            node, places = step.node, self._places
            if _may_emit(node.layer) and all(blob in places for blob in (*node.inputs, *node.outputs)):
                with located(node):
                    step.rows = node.layer.emit(
                        [places[blob] for blob in node.inputs], [places[blob] for blob in node.outputs], step.state
                    )
            if step.rows is None:
                continue
            step.staged = [blob for blob in dict.fromkeys(node.inputs) if blob not in fixed]
            fixed.update(node.outputs)

    def _forget(self) -> None:
        kept = set(self.graph.outputs) | set(self._constants)
        last: dict[str, int] = {}
        for number, step in enumerate(self._steps):
            last.update(dict.fromkeys((*step.node.inputs, *step.node.outputs), number))
        for number, step in enumerate(self._steps):
            step.forgotten = tuple(blob for blob, at in last.items() if at == number and blob not in kept)

    def _join_programs(self) -> list[tuple[np.ndarray | None, list[_Step]]]:
        """Neighbouring steps that can run as one program."""
        groups: list[tuple[list[np.ndarray], list[_Step]]] = []
        for step in self._steps:
            if step.rows is not None and not step.staged and groups and groups[-1][0]:
                groups[-1][0].append(step.rows)
                groups[-1][1].append(step)
            else:
                groups.append(([step.rows] if step.rows is not None else [], [step]))
        return [(np.concatenate(rows) if rows else None, steps) for rows, steps in groups]

    # --- every run ---

    def run(self, inputs: Mapping[str, np.ndarray], tap: Tap | None = None) -> dict[str, np.ndarray]:
        """Compute the model outputs.

        Parameters
        ----------
        inputs : mapping of str to ndarray
            One array for each model input, of its dims; float32, or int32 / int8 where the model says so.
        tap : callable (name, array), optional
            Shown every blob once: the inputs, then each blob right after the layer that makes it. Must not keep or
            change the array.

        Returns
        -------
        dict of str to ndarray
            By output name, in C order.

        Raises
        ------
        InputError
            An input is missing, unknown, or of other dims.
        """
        blobs = {**self._constants, **self._checked(inputs)}
        if tap:
            for name in self.graph.inputs:
                tap(name, blobs[name])
            for step in self._steps:
                self._run([step], step.rows, blobs)
                for blob in step.node.outputs:
                    if blob in blobs:
                        tap(blob, blobs[blob])
                _drop(blobs, step.forgotten)
        else:
            for rows, steps in self._programs:
                self._run(steps, rows, blobs)
                for step in steps:
                    _drop(blobs, step.forgotten)
        return {name: np.array(blobs[name], order="C") for name in self.graph.outputs}

    def _run(self, steps: list[_Step], rows: np.ndarray | None, blobs: dict[str, np.ndarray]) -> None:
        first = steps[0]
        with located(first.node):
            for blob in first.staged:
                self._stage(blob, blobs)
            if rows is not None:
                from tnnquant.kernels.program import run

                run(rows)
            else:
                with exact_sums(self._exact):
                    results = first.node.layer.forward([blobs[blob] for blob in first.node.inputs], first.state)
                blobs.update(zip(first.node.outputs, results, strict=False))
                return
        for step in steps:
            blobs.update({blob: self._places[blob] for blob in step.node.outputs})

    def _stage(self, blob: str, blobs: Mapping[str, np.ndarray]) -> None:
        target, source = self._places[blob], blobs[blob]
        if target is source:
            return
        if source.shape != target.shape:
            raise GraphError(f"blob {blob!r} has dims {source.shape} at run time, inferred were {target.shape}")
        np.copyto(target, source)

    def _checked(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        checked = {}
        for name in self.graph.inputs:
            spec = self.specs[name]
            if name not in inputs:
                raise InputError(f"no array for the model input {name!r} ({'x'.join(map(str, spec.dims))})")
            array = np.asarray(inputs[name])
            if array.shape != spec.dims:
                got = "x".join(map(str, array.shape))
                raise InputError(f"the array for input {name!r} is {got}, expected {'x'.join(map(str, spec.dims))}")
            checked[name] = array.astype(spec.dtype.numpy, copy=False)
        unknown = sorted(set(inputs) - set(checked))
        if unknown:
            raise InputError(f"the model has no input {unknown[0]!r}; its inputs are {', '.join(checked)}")
        return checked

    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(
            step.node.layer.macs([self.specs[b] for b in step.node.inputs], [self.specs[b] for b in step.node.outputs])
            for step in self._steps
        )


def refuse_unrunnable(graph: Graph) -> None:
    """Raise UnsupportedLayerError if any layer cannot be run, naming all of them (at most eight)."""
    if graph.is_quantized:
        raise UnsupportedLayerError("the model is int8 already; give the fp32 model it was made from")
    stuck = [node for node in graph.nodes if not node.layer.runnable()]
    if stuck:
        why = stuck[0].layer.WHY_NOT or "tnnquant has no kernel for it"
        names = ", ".join(str(node) for node in stuck[:8]) + (", ..." if len(stuck) > 8 else "")
        raise UnsupportedLayerError(
            f"{len(stuck)} of {len(graph.nodes)} layers cannot be run: {names}; {why}; "
            "replace or remove the layer in the model, or report the type"
        )


def _may_emit(layer: Layer) -> bool:
    return type(layer).emit is not Layer.emit


def _root(blob: str, inside: Mapping[str, tuple[str, int]]) -> str:
    while blob in inside:
        blob = inside[blob][0]
    return blob


def _drop(blobs: dict[str, np.ndarray], names: Sequence[str]) -> None:
    for name in names:
        blobs.pop(name, None)
