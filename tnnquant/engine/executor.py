"""Run a graph, in fp32 or with TNN's int8 arithmetic. No layer is known here by name.

Making an :class:`Executor` infers shapes, packs weights, and gives every blob a fixed place in memory
(:mod:`tnnquant.engine.placement`). Layers whose kernels can be put in a program (:meth:`Layer.emit`) become rows of
one; neighbours are run by a single call without returning to Python. All others run through :meth:`Layer.forward`, and
their results are copied to where a program wants them. A quantized graph is first lowered to what TNN's runtime
executes (:mod:`tnnquant.graph.lower`), and gives the integers of TNN's CPU device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tnnquant.base.arithmetic import exact_sums
from tnnquant.base.memory import machine_bytes, refuse_giant
from tnnquant.base.tensor import DataType
from tnnquant.base.wording import parameter
from tnnquant.engine.bordered import find_bordered
from tnnquant.engine.explain import Operation, ProgramTable
from tnnquant.engine.feed import Feed
from tnnquant.engine.fusion import fused
from tnnquant.engine.lookup import find_lookups
from tnnquant.engine.placement import Placement
from tnnquant.engine.steps import Step, make_step
from tnnquant.errors import ConfigError, GraphError, InputError, UnfitValueError, UnsupportedLayerError
from tnnquant.graph import Graph
from tnnquant.graph.infer import infer, located
from tnnquant.graph.lower import lower
from tnnquant.graph.passes import widen_dynamic_range
from tnnquant.layers.int8 import dequantized
from tnnquant.layers.movement import copy_into

if TYPE_CHECKING:
    from tnnquant.kernels.program import Program

__all__ = ["Executor"]

Tap = Callable[[str, np.ndarray], None]


class Sample(Protocol):
    """What is run: arrays by input name, and a name for messages."""

    @property
    def name(self) -> str: ...

    @property
    def arrays(self) -> Mapping[str, np.ndarray]: ...


class _Group:
    """Neighbouring steps that run as one program, or one that runs through ``forward``.

    Attributes
    ----------
    steps : list of Step
    program : Program or None
    made : dict of str to ndarray
        What the program makes, in its places.
    forgotten : tuple of str
        Blobs that nothing reads after the group.
    """

    def __init__(self, steps: list[Step], places: Mapping[str, np.ndarray]):
        from tnnquant.kernels.program import Program

        self.steps = steps
        rows = [step.rows if step.fused is None else step.fused for step in steps if step.rows is not None]
        self.program = Program(rows) if rows else None  # a group has rows of all its steps, or of none
        self.made = {b: places[b] for step in steps for b in step.node.outputs} if self.program is not None else {}
        self.forgotten = tuple(blob for step in steps for blob in step.forgotten)
        self._singles: list[Program | None] = []
        self._ends = [0, *accumulate(len(row) for row in rows)]
        self._parts: dict[tuple[int, int], Program] = {}

    def refuse_giant_scratch(self) -> None:
        """Raise GraphError where a kernel's own memory, which grows with windows and pads, cannot be had."""
        if self.program is None or self.program.scratch_bytes <= machine_bytes():
            return
        for step, program in zip(self.steps, self.single_programs(), strict=True):
            with located(step.node):
                refuse_giant((program.scratch_bytes if program else 0,), 1, "its kernel's memory")

    def single_programs(self) -> list[Program | None]:
        """A program for each step alone."""
        from tnnquant.kernels.program import Program

        if not self._singles:
            self._singles = [Program([step.rows]) if step.rows is not None else None for step in self.steps]
        return self._singles

    def part(self, first: int, last: int) -> Program:
        """The program of the steps first..last-1; of a group that has one."""
        assert self.program is not None
        if (first, last) not in self._parts:
            self._parts[first, last] = self.program.part(self._ends[first], self._ends[last])
        return self._parts[first, last]


class Executor:
    """A graph made ready to run. One run at a time: the blobs' memory is shared by all runs.

    Parameters
    ----------
    graph : Graph
        An fp32 model, or an int8 one, ours or one that TNN's tool wrote.
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto.
    exact : bool
        fp32 layers sum as TNN's CPU device does, bit for bit; False: as fast as possible
        (:mod:`tnnquant.base.arithmetic`). int8 layers always give TNN's integers.
    device : {"naive", "arm", "x86"}
        Whose arithmetic, bit for bit but for the order of fp32 sums; slower (:mod:`tnnquant.layers.device_int8`).
        ``arm`` is without dot product, and has a sigmoid of its own (:mod:`tnnquant.layers.device_f32`). Layers that
        come out wrong there (:mod:`tnnquant.devices`) give NaN, or codes of -128, where the device's values are not
        computed (:mod:`tnnquant.devices.arithmetic`).
    high_precision : bool
        As with PRECISION_HIGH, on ``arm``.

    Attributes
    ----------
    graph, specs
        The graph that is executed, with resolved parameters; dims and type of every blob. Of a quantized model:
        lowered, with Reformat layers where int8 and fp32 meet.
    blob_bytes : int
        Memory of the blobs with fixed places: the largest live set, or a little more.
    live_bytes : int
        The largest live set: what the blobs take that are needed at one step.

    Raises
    ------
    GraphError, UnsupportedLayerError
        The model does not fit together, or a layer cannot be run; all layers that cannot are named.
    ConfigError
        There is no such device.
    """

    def __init__(
        self, graph: Graph, input_dims: Mapping[str, Sequence[int]] | None = None, *, exact: bool = True,
        device: str = "naive", high_precision: bool = False,
    ):  # fmt: skip
        _need_compiler()
        stored, graph = graph, lower(graph) if graph.is_quantized else widen_dynamic_range(graph)
        if device != "naive":
            graph = _on_device(graph, stored, input_dims, device, high_precision)
        refuse_unrunnable(graph)
        self._exact = exact
        self._keeps = False
        self._kept: dict[str, np.ndarray] = {}
        self.inference = infer(graph, input_dims)
        self.graph = self.inference.graph
        self.specs = self.inference.specs
        self._constants = {name: tensor.array() for name, tensor in self.graph.constants.items()}
        self._steps = [
            make_step(node, self.graph, self.specs)
            for i, node in enumerate(self.graph.nodes)
            if i not in self.inference.folded
        ]
        self._check_scales()
        self._fast: Executor | None = None
        self._is_fused = False  # no two neighbours can be one any more
        self._find_lookups()
        self._lay_out()

    def __repr__(self) -> str:
        programs = sum(group.program is not None for group in self._groups)
        return (
            f"Executor({self.graph!r}, {len(self._steps)} steps in {programs} programs, "
            f"blobs {self.blob_bytes / 1e6:.1f} MB)"
        )

    @property
    def exact(self) -> bool:
        """Whether fp32 layers sum as TNN's CPU device does."""
        return self._exact

    # --- once per model ---

    def _check_scales(self) -> None:
        """Those of the model's int8 inputs and outputs: a layer may be int8 that looks at none."""
        for name in (*self.graph.inputs, *self.graph.outputs):
            if not self._is_scaled(name):
                continue
            dims, count = self.specs[name].dims, self.graph.scales[name].scale.size
            channels = (dims[1:2] or dims or (1,))[0]
            if count not in (1, channels):
                raise GraphError(f"the int8 blob {name!r} has {count} scales, expected 1 or its channels, {channels}")

    def twin(self) -> Executor:
        """An executor of the same model with memory of its own, to be run at the same time on another Python thread.

        What was made of the weights is shared.
        """
        return self._with_steps([step.twin() for step in self._steps])

    def _with_steps(self, steps: list[Step]) -> Executor:
        other = copy(self)
        other._steps, other._fast = steps, None
        if len(steps) != len(self._steps):
            other._find_lookups()  # their members have other numbers
        other._lay_out()
        return other

    def keeping(self) -> Executor:
        """A twin that keeps all blobs of a run, so that :meth:`rerun` can begin in the middle."""
        other = copy(self)
        other._steps, other._fast = [step.twin() for step in self._steps], None
        other._keeps = True
        other._lay_out()
        return other

    def _find_lookups(self) -> None:
        with exact_sums(self._exact):
            self._lookups = find_lookups(self._steps, self.graph, self.specs)
        self._bordered = find_bordered(self._steps, self.graph, self.specs)

    def unwatched(self) -> Executor:
        """What runs where no blob is shown: itself, or a twin in which neighbouring layers are one."""
        if self._keeps or self._is_fused:
            return self
        if self._fast is None:
            made = {blob for step in self._steps for blob in step.node.outputs}
            steps = fused(self._steps, self.specs, {*self.graph.outputs, *(set(self.specs) - made)})
            if len(steps) == len(self._steps):
                self._is_fused = True
                return self
            self._fast = self._with_steps(steps)
            self._fast._is_fused = True
        return self._fast

    def _lay_out(self) -> None:
        # Where one pass does the work of several steps, its input is read as late as the result is written.
        together = [each.members for each in self._lookups] + [each.members for each in self._bordered]
        late = {self._steps[members[0]].node.inputs[0]: members[-1] for members in together}
        placement = Placement(self.graph, self.specs, self._steps, self._constants, late, self._keeps)
        self._places, self.blob_bytes, self.live_bytes = placement.arrays, placement.bytes, placement.live_bytes
        try:
            self._feeds = {name: self._make_feed(name) for name in self.graph.inputs}
            with exact_sums(self._exact):
                self._emit()
            if not self._keeps:
                self._fuse()
        except MemoryError:
            raise GraphError(
                f"not enough memory to lay the model out: its blobs alone take {self.blob_bytes / 1e9:.3g} GB; "
                f"check the dims of the model's inputs ({parameter('input_dims')} gives others)"
            ) from None
        self._forget()
        self._groups = [_Group(steps, self._places) for steps in self._joined()]
        for group in self._groups:
            group.refuse_giant_scratch()
        self._head = self._make_head()

    def _is_scaled(self, blob: str) -> bool:
        return self.specs[blob].dtype == DataType.INT8 and blob in self.graph.scales

    def _make_feed(self, name: str) -> Feed:
        params = self.graph.scales[name] if self._is_scaled(name) else None
        return Feed(self.specs[name], params, self._places.get(name))

    def _emit(self) -> None:
        """Ask every layer for its program; note which inputs a forward will have made elsewhere."""
        fixed = {blob for blob, array in self._constants.items() if array.dtype == np.float32 and array.ndim != 4}
        # Constants lie where they are for good. (Programs know images only as channels-last.)
        places = {**self._places, **{blob: self._constants[blob] for blob in fixed}}
        for step in self._steps:
            node = step.node
            if step.may_emit and all(blob in places for blob in (*node.inputs, *node.outputs)):
                step.emit(places)
            if step.rows is None:
                continue
            step.staged = [blob for blob in dict.fromkeys(node.inputs) if blob not in fixed]
            fixed.update(node.outputs)

    def _fuse(self) -> None:
        """Put the tables, and passes over copies, in the place of the steps that they stand for."""
        for lookup in self._lookups:
            self._stand_for(lookup.members, lookup.rows(self._steps, self._places))
        for each in self._bordered:
            keep = self._steps[each.members[-1]].keep
            self._stand_for(each.members, each.rows(self._steps, self._places, keep))

    def _stand_for(self, members: Sequence[int], rows: np.ndarray | None) -> None:
        if rows is not None:
            for number in members:
                self._steps[number].fused = rows[:0]
            self._steps[members[-1]].fused = rows

    def _forget(self) -> None:
        kept = set(self.graph.outputs) | set(self._constants)
        if self._keeps:
            kept.update(self.specs)
        last: dict[str, int] = {}
        for number, step in enumerate(self._steps):
            last.update(dict.fromkeys((*step.node.inputs, *step.node.outputs), number))
        for number, step in enumerate(self._steps):
            step.forgotten = tuple(blob for blob, at in last.items() if at == number and blob not in kept)

    def _joined(self) -> list[list[Step]]:
        """Neighbouring steps that can run as one program."""
        groups: list[list[Step]] = []
        for step in self._steps:
            if step.rows is not None and not step.staged and groups and groups[-1][0].rows is not None:
                groups[-1].append(step)
            else:
                groups.append([step])
        return groups

    def _make_head(self) -> Program | None:
        """The first group's program after the ops of all feeds: one call less."""
        from tnnquant.kernels.program import Program

        rows = [feed.rows for feed in self._feeds.values() if feed.rows is not None]
        first = self._groups[0].program if self._groups else None
        if first is None or not rows or len(rows) < len(self._feeds):
            return None
        return Program([*rows, first.table])

    # --- every run ---

    def run(self, inputs: Mapping[str, np.ndarray], tap: Tap | None = None) -> dict[str, np.ndarray]:
        """Compute the model outputs.

        Parameters
        ----------
        inputs : mapping of str to ndarray
            One array for each model input, of its dims; float32, or int32 / int8 where the model says so. What int8
            layers read is quantized with the scale of the blob; an int8 array is taken as quantized already.
        tap : callable (name, array), optional
            Shown every blob once: the inputs, then each blob right after the layer that makes it; int8 blobs as int8.
            Must not keep or change the array.

        Returns
        -------
        dict of str to ndarray
            By output name, in C order; int8 blobs dequantized to float32.

        Raises
        ------
        InputError
            An input is missing, unknown, or of other dims.
        """
        arrays = self._checked(inputs)
        try:
            if tap or self._keeps:
                blobs = {**self._constants, **self._fed(arrays)}
                self._run_with(tap or _unseen, blobs)
            else:
                blobs = self.unwatched()._run_all(arrays)
        except MemoryError:
            raise GraphError(
                "not enough memory to run the model; check its parameters, and the dims of its inputs "
                f"({parameter('input_dims')} gives others)"
            ) from None
        return {name: self._result(name, blobs[name]) for name in self.graph.outputs}

    def run_sample(self, sample: Sample, tap: Tap | None = None) -> dict[str, np.ndarray]:
        """As :meth:`run`, on a sample, whose values may be what a layer refuses.

        Raises
        ------
        InputError
            As :meth:`run`, and where a layer cannot run on these values (an index out of range); the sample is named.
        """
        try:
            return self.run(sample.arrays, tap)
        except UnfitValueError as error:
            raise InputError(f"{sample.name}: {error}") from error

    def _run_all(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        groups, head = self._groups, self._head
        if head is not None and all(feed.takes(arrays[name]) for name, feed in self._feeds.items()):
            from tnnquant.kernels.interleave import SOURCE
            from tnnquant.kernels.program import data_address

            for number, name in enumerate(self._feeds):
                head.table[number, SOURCE] = data_address(arrays[name])
            head.run()
            fed = {name: self._places[name] for name in self._feeds}
            blobs = {**self._constants, **fed, **groups[0].made}
            _drop(blobs, groups[0].forgotten)
            groups = groups[1:]
        else:
            blobs = {**self._constants, **self._fed(arrays)}
        for group in groups:
            self._run(group.steps[0], group.program, blobs)
            blobs.update(group.made)
            _drop(blobs, group.forgotten)
        return blobs

    def rerun(
        self, inputs: Mapping[str, np.ndarray], first: int, tap: Tap, shown: frozenset[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The outputs of the last run, with a tap, again from a step on; of an executor that is :meth:`keeping`.

        What the steps before made is as that run left it, and as the reruns since then did. A tap may change what it is
        shown: nothing before the step that made it is touched.

        Parameters
        ----------
        inputs : mapping of str to ndarray
            As of that run.
        first : int
            Number of the step, among :attr:`steps`; -1: the inputs are shown too.
        tap : callable (name, array)
        shown : frozenset of str, optional
            Blobs that the tap is shown, if these steps make them; what lies between runs as one program. Default: all.
        """
        shown = frozenset(self.specs) if shown is None else shown
        if first < 0:
            self._kept.update(self._fed(self._checked(inputs)))
            for name in self.graph.inputs:
                if name in shown:
                    tap(name, self._kept[name])
        begin = 0
        for group in self._groups:
            end = begin + len(group.steps)
            if end > first:
                self._rerun_group(group, max(first - begin, 0), tap, shown)
            begin = end
        return {name: self._result(name, self._kept[name]) for name in self.graph.outputs}

    def _rerun_group(self, group: _Group, first: int, tap: Tap, shown: frozenset[str]) -> None:
        """Run a group again from its step ``first`` on, stopping where a blob is shown."""
        while first < len(group.steps):
            last = first
            while last < len(group.steps) - 1 and shown.isdisjoint(group.steps[last].node.outputs):
                last += 1
            step = group.steps[last]
            if group.program is None:
                self._run(step, None, self._kept)
                self._keep_apart(step)
            else:
                self._run(group.steps[first], group.part(first, last + 1), self._kept)
            for blob in step.node.outputs:
                if blob in shown and blob in self._kept:
                    tap(blob, self._kept[blob])
            first = last + 1

    def _keep_apart(self, step: Step) -> None:
        """A view of what another step made must not change with it."""
        kept = self._kept
        kept.update({blob: kept[blob].copy() for blob in step.node.outputs if blob in kept})

    def _run_with(self, tap: Tap, blobs: dict[str, np.ndarray]) -> None:
        if self._keeps:
            self._kept = blobs
        for name in self.graph.inputs:
            tap(name, blobs[name])
        for group in self._groups:
            for step, program in zip(group.steps, group.single_programs(), strict=True):
                self._run(step, program, blobs)
                if program is None and self._keeps:
                    self._keep_apart(step)
                if program is not None:
                    blobs.update({blob: self._places[blob] for blob in step.node.outputs})
                for blob in step.node.outputs:
                    if blob in blobs:
                        tap(blob, blobs[blob])
                _drop(blobs, step.forgotten)

    def run_steps(self, inputs: Mapping[str, np.ndarray], visit: Callable[[Step, Callable[[], None]], object]) -> None:
        """Run step by step, each through ``visit(step, run)``, which calls ``run`` at least once: to measure layers.

        Whatever a step reads is there while it is visited, so its ``rows`` may be run as a program too.
        """
        blobs = {**self._constants, **self._fed(self._checked(inputs))}
        for group in self._groups:
            for step, program in zip(group.steps, group.single_programs(), strict=True):
                visit(step, partial(self._run, step, program, blobs))
                if program is not None:
                    blobs.update({blob: self._places[blob] for blob in step.node.outputs})
                _drop(blobs, step.forgotten)

    @property
    def steps(self) -> Sequence[Step]:
        """The layers made ready, in execution order."""
        return self._steps

    def explain(self) -> ProgramTable:
        """The operations of a run without a tap, in order: layer, kernel, instruction path, tasks, bytes.

        Returns
        -------
        ProgramTable
            A sequence of :class:`~tnnquant.engine.explain.Operation`; ``print`` shows a table.
        """
        running = self.unwatched()
        return ProgramTable(tuple(running._operations()))

    def _operations(self) -> Iterator[Operation]:
        number = 1 if self._head is not None else 0
        for name, feed in self._feeds.items():
            spec = self.specs[name]
            count = int(np.prod(spec.dims))
            size = count * (4 + spec.dtype.numpy.itemsize)
            quantized = self._is_scaled(name)
            if feed.rows is not None:
                yield from _rows_explained(feed.rows, name, "input", number, size, quantized)
        joined = {each.members[-1]: each.members for each in self._lookups}
        joined |= {each.members[-1]: each.members for each in self._bordered}
        at = -1
        for i, group in enumerate(self._groups):
            number += group.program is not None and not (i == 0 and self._head is not None)
            for step in group.steps:
                at += 1
                members = [self._steps[k] for k in joined.get(at, (at,))] if step.fused is not None else [step]
                name = " + ".join(member.node.name for member in members)
                size = self._bytes_of(members)
                kind, quantized = step.node.layer.TYPE_NAMES[0], step.node.quantized
                rows = step.rows if step.fused is None else step.fused
                if rows is None:
                    method = f"{type(step.half if quantized else step.node.layer).__name__}.forward"
                    yield Operation(name, kind, method, "", 0, 0, size, quantized)
                else:
                    yield from _rows_explained(rows, name, kind, number, size, quantized)

    def _bytes_of(self, steps: Sequence[Step]) -> int:
        """Of what the steps read and write together, without what they hand to each other."""
        first, last = steps[0].node, steps[-1].node
        blobs = (*dict.fromkeys(first.inputs), *last.outputs)
        weights = sum(tensor.data.nbytes for step in steps for tensor in step.node.tensors.values())
        specs = [self.specs[blob] for blob in blobs]
        return sum(int(np.prod(spec.dims)) * spec.dtype.numpy.itemsize for spec in specs) + weights

    @property
    def feeds(self) -> Mapping[str, Feed]:
        """What puts an array into its place, by model input."""
        return self._feeds

    def _fed(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: self._feeds[name](array) for name, array in arrays.items()}

    def _result(self, name: str, blob: np.ndarray) -> np.ndarray:
        if self._is_scaled(name):
            return np.ascontiguousarray(dequantized(blob, self.graph.scales[name]))
        return np.array(blob, order="C")

    def _run(self, step: Step, program: Program | None, blobs: dict[str, np.ndarray]) -> None:
        with located(step.node):
            for blob in step.staged:
                self._stage(blob, blobs)
            if program is not None:
                program.run()
                return
            try:
                with exact_sums(self._exact):
                    blobs.update(step.forward(blobs))
            except GraphError as error:
                # Shapes were found to fit when the executor was made: what is left is due to the values.
                raise UnfitValueError(str(error)) from error

    def _stage(self, blob: str, blobs: Mapping[str, np.ndarray]) -> None:
        target, source = self._places[blob], blobs[blob]
        if target is source:
            return
        if source.shape != target.shape:
            raise GraphError(f"blob {blob!r} has dims {source.shape} at run time, inferred were {target.shape}")
        copy_into(target, source)

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
            checked[name] = array
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


def _rows_explained(
    rows: np.ndarray, layer: str, kind: str, program: int, size: int, quantized: bool
) -> Iterator[Operation]:
    from tnnquant.kernels.program import task_of
    from tnnquant.kernels.target import path_of

    for i, row in enumerate(rows):
        module, function, tasks = task_of(row)
        home = module.rpartition(".")[2]
        path = path_of(module) if module else ""
        moved = size if i == 0 and tasks else 0
        yield Operation(layer, kind, f"{home}.{function}", path, program, tasks, moved, quantized)


def _on_device(graph: Graph, stored: Graph, input_dims: Mapping | None, device: str, high_precision: bool) -> Graph:
    """The graph with the layers of the device."""
    if device not in ("arm", "x86"):
        raise ConfigError(f"the arithmetic of the device {device!r} is not known, expected naive, arm or x86")
    from tnnquant.devices.arithmetic import on_device

    return on_device(graph, stored, device, input_dims, high_precision=high_precision)


def _need_compiler() -> None:
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise ConfigError("NUMBA_DISABLE_JIT is set, but the layers' kernels exist only compiled; unset it")


def refuse_unrunnable(graph: Graph) -> None:
    """Raise UnsupportedLayerError if any layer cannot be run, naming all of them (at most eight)."""
    stuck = [node for node in graph.nodes if not node.half.runnable]
    if stuck:
        why = stuck[0].layer.WHY_NOT or f"tnnquant has no {stuck[0].half.MISSING} of it"
        names = ", ".join(str(node) for node in stuck[:8]) + (", ..." if len(stuck) > 8 else "")
        raise UnsupportedLayerError(
            f"{len(stuck)} of {len(graph.nodes)} layers cannot be run: {names}; {why}; "
            "replace or remove the layer in the model, or report the type"
        )


def _unseen(_name: str, _array: np.ndarray) -> None:
    """The tap of a run that keeps its blobs for nobody to look at yet."""


def _drop(blobs: dict[str, np.ndarray], names: Sequence[str]) -> None:
    for name in names:
        blobs.pop(name, None)
