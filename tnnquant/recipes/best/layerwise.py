"""Quantize the weighted layers one after another, each for the codes that those before it really give it.

All samples go through a weighted layer, and what is between it and the next one, before that is looked at; only the
blobs that are still read there are kept, and of all layers the second moments of one. Samples lie behind each other in
one array per blob: layers that look at one item of a batch at a time compute all of them at once. The layers are
those that TNN executes (:mod:`tnnquant.graph.lower`), in its int8 arithmetic, so that a layer also makes up for what
rounding did before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod

import numpy as np

from tnnquant.base.arithmetic import exact_sums
from tnnquant.base.memory import release_freed
from tnnquant.base.tensor import DataType, QuantParams
from tnnquant.engine.steps import Step, make_step
from tnnquant.graph import Graph, Node, Resource
from tnnquant.graph.infer import infer, located
from tnnquant.graph.lower import lower
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.layers.concat import Concat
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.int8 import PixelInt8, quantized
from tnnquant.layers.weighted import Weighted
from tnnquant.recipes.best.lanes import in_lanes
from tnnquant.recipes.best.layer_input import LayerInput

__all__ = ["quantize_layers"]

#: Seconds that a layer takes: at any rate, and for thousands of millions of multiplications of its samples, millions of
#: values that they read and make, thousands of millions of multiplications for its moments, a step of rounding, the
#: factor of its moments, and its outputs. As ``python tools/pace.py fit`` finds them.
_COSTS = (0.0104, 0.0, 0.00128, 0.00939, 0.027, 0.00583, 0.164)


#: Bytes of what only the layers between two weighted ones need, of the samples that go through them at a time.
_BETWEEN = 8 << 20

Decide = Callable[[Node, LayerInput | None], Resource]


def quantize_layers(
    graph: Graph,
    inputs: Iterable[Mapping[str, np.ndarray]],
    windows: Mapping[str, int],
    decide: Decide,
    progress: Callable[[int, int], None] | None = None,
    input_dims: Mapping[str, Sequence[int]] | None = None,
    is_late: Callable[[], bool] = lambda: False,
    outputs: int = 128,
) -> dict[str, Resource]:
    """Find the int8 tensors of every weighted int8 layer, in order.

    Parameters
    ----------
    graph : Graph
        With the flags and scales of the int8 model, and fp32 weights.
    inputs : iterable of mapping of str to ndarray
        Samples, by input name.
    windows : mapping of str to int
        Windows per sample from which moments and means are made, by layer name.
    decide : callable (node, LayerInput or None) -> Resource
        Quantizes one layer.
    progress : callable (done, total), optional
        Both are amounts of work, because layers differ in size.
    input_dims : mapping of str to sequence of int, optional
    is_late : callable () -> bool
        Once it says so, layers are quantized without looking at what they read: None.
    outputs : int
        Windows per sample, at most, whose sums a layer may ask for.

    Returns
    -------
    dict of str to Resource
        By layer name.
    """
    inference = infer(lower(graph), input_dims)
    lowered, specs = inference.graph, inference.specs
    fed = [
        {name: _fed(array, specs[name], lowered.scales.get(name)) for name, array in sample.items()}
        for sample in inputs
    ]
    samples = len(fed)
    live = {name: _stacked([arrays[name] for arrays in fed]) for name in fed[0]}
    del fed
    constants = {name: tensor.array() for name, tensor in lowered.constants.items()}
    last = {blob: position for position, node in enumerate(lowered.nodes) for blob in node.inputs}
    found: dict[str, Resource] = {}
    weighted = [node for node in lowered.nodes if _is_weighted(node)]
    work = {node.name: _work(node, specs, windows, samples, outputs) for node in weighted}
    done = 0
    stretch = _Stretch(constants, specs, ())
    for position, node in enumerate(lowered.nodes):
        if position in inference.folded:
            continue
        if _is_weighted(node):
            if is_late():
                rest = [other for other in lowered.nodes[position:] if _is_weighted(other)]
                return found | {other.name: decide(other, None) for other in rest}
            stretch.forward(live, samples)
            stretch = _Stretch(constants, specs, ())
            with located(node):
                codes, dims = live[node.inputs[0]], specs[node.outputs[0]].dims
                seen = LayerInput(node, codes, dims, windows[node.name], outputs)
                found[node.name] = decide(node, seen)
                del seen
            node = node.replace(resource=found[node.name])
            release_freed()
            done += work[node.name]
            if progress:
                progress(done, sum(work.values()))
            if len(found) == len(work):
                break
        forgotten = tuple(blob for blob in {*node.inputs, *node.outputs} if last.get(blob, -1) <= position)
        stretch = replace(stretch, steps=(*stretch.steps, (make_step(node, lowered, specs), forgotten)))
    return found


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Layers that all samples go through: constants by name, specs of one sample's blobs, and steps, each with blobs
    that nothing reads after it."""

    constants: Mapping[str, np.ndarray]
    specs: Mapping[str, BlobSpec]
    steps: tuple[tuple[Step, tuple[str, ...]], ...]

    def twin(self) -> _Stretch:
        """The same with memory of its own."""
        return replace(self, steps=tuple((step.twin(), forgotten) for step, forgotten in self.steps))

    def forward(self, blobs: dict[str, np.ndarray], samples: int) -> None:
        """Compute what the steps make, among the blobs of all samples."""
        for together, steps in groupby(self.steps, lambda entry: self._is_by_item(entry[0])):
            part = replace(self, steps=tuple(steps))
            if together:
                part._run_together(blobs, samples)
            else:
                part._run_apart(blobs, samples)

    def _is_by_item(self, step: Step) -> bool:
        """Whether the step makes of items of a batch what it makes of each alone."""
        layer, names = step.node.layer, {*step.node.inputs, *step.node.outputs}
        dims = [self.specs[blob].dims for blob in names]
        if names & self.constants.keys() or any(len(each) < 2 or each[0] != 1 for each in dims):
            return False
        if isinstance(step.half, PixelInt8):
            return True
        if isinstance(layer, Concat):
            return layer.axis == 1
        is_alike = layer.BY_ELEMENT and not step.node.tensors and len(set(dims)) == 1
        return is_alike or (isinstance(layer, Convolution) and not step.node.quantized)

    def _run_together(self, blobs: dict[str, np.ndarray], samples: int) -> None:
        """As many samples at once as what only they need between the steps fits into memory."""
        gone = {blob for _, forgotten in self.steps for blob in forgotten}
        made = [pair for step, _ in self.steps for pair in zip(step.node.outputs, step.outputs, strict=True)]
        size = sum(prod(spec.dims) * spec.dtype.numpy.itemsize for blob, spec in made if blob in gone)
        most = min(samples, max(1, _BETWEEN // max(size, 1)))
        read = {blob for step, _ in self.steps for blob in step.node.inputs} & blobs.keys()
        kept: dict[str, np.ndarray] = {}
        for first in range(0, samples, most):
            count = min(most, samples - first)
            found = self._batch({blob: blobs[blob][first : first + count] for blob in read}, count)
            if count == samples:
                kept = found
            for blob in found if count < samples else ():
                if not first:
                    kept[blob] = _like(found[blob], samples)
                kept[blob][first : first + count] = found[blob]
        for blob in gone & blobs.keys():
            del blobs[blob]
        blobs.update(kept)

    def _batch(self, blobs: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
        """What the steps make of some samples, without what nothing reads after them."""
        made: dict[str, np.ndarray] = {}
        with exact_sums(False):
            for step, forgotten in self.steps:
                outputs = [replace(spec, dims=(count, *spec.dims[1:])) for spec in step.outputs]
                with located(step.node):
                    arrays = [made[blob] if blob in made else blobs[blob] for blob in step.node.inputs]
                    results = step.half.forward(arrays, outputs, step.state)
                del arrays
                made.update(zip(step.node.outputs, results, strict=False))
                for blob in forgotten:
                    blobs.pop(blob, None)
                    made.pop(blob, None)
        return made

    def _run_apart(self, blobs: dict[str, np.ndarray], samples: int) -> None:
        results = in_lanes(self, [self._sample(blobs, samples, number) for number in range(samples)], _Stretch._run)
        for _, forgotten in self.steps:
            for blob in forgotten:
                blobs.pop(blob, None)
        for name in results[0]:
            blobs[name] = _stacked([result[name] for result in results])

    def _run(self, blobs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the steps make of one sample, without what nothing reads after them."""
        made: dict[str, np.ndarray] = {}
        with exact_sums(False):
            for step, forgotten in self.steps:
                with located(step.node):
                    made.update(step.forward({**self.constants, **blobs, **made}))
                for blob in forgotten:
                    blobs.pop(blob, None)
                    made.pop(blob, None)
        return made

    def _sample(self, blobs: Mapping[str, np.ndarray], samples: int, number: int) -> dict[str, np.ndarray]:
        """The blobs of one sample."""

        def of_sample(name: str, array: np.ndarray) -> np.ndarray:
            count = len(array) // samples
            found = array[number * count : (number + 1) * count]
            return found if self.specs[name].dims else found.reshape(())

        return {name: of_sample(name, array) for name, array in blobs.items()}


def _like(array: np.ndarray, samples: int) -> np.ndarray:
    """An uninitialised array for so many samples; images channels last."""
    if array.ndim != 4:
        return np.empty((samples, *array.shape[1:]), array.dtype)
    _, channels, height, width = array.shape
    return np.empty((samples, height, width, channels), array.dtype).transpose(0, 3, 1, 2)


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one shape behind each other; images channels last, as kernels want them."""
    if arrays[0].ndim != 4:
        return np.concatenate([np.atleast_1d(array) for array in arrays])
    return np.concatenate(arrays, out=_like(arrays[0], len(arrays) * len(arrays[0])))


def _is_weighted(node: Node) -> bool:
    return bool(node.quantized) and node.layer.role == QuantRole.WEIGHTED


def _work(node: Node, specs: Mapping, windows: Mapping[str, int], samples: int, outputs: int) -> int:
    """About the hundreds of microseconds a layer takes: to run it, for its moments, to round its weights."""
    counted = _counted(node, specs, windows[node.name], samples, outputs)
    return 1 + int(1e4 * sum(cost * count for cost, count in zip(_COSTS, counted, strict=True)))


def _counted(node: Node, specs: Mapping, windows: int, samples: int, outputs: int) -> tuple[float, ...]:
    """What :data:`_COSTS` are of."""
    out = specs[node.outputs[0]].dims
    macs = node.layer.macs([specs[blob] for blob in node.inputs], [specs[blob] for blob in node.outputs])
    values = sum(prod(specs[blob].dims) for blob in (*node.inputs, *node.outputs))
    length, groups = macs / max(prod(out), 1), node.layer.expect(Weighted).groups
    seen, judged = (samples * min(count, prod(out[2:])) for count in (windows, outputs))
    return (
        1.0, samples * macs / 1e9, samples * values / 1e6, length**2 * groups * seen / 1e9,
        length**2 * out[1] / 1e9, length**3 * groups / 1e9, judged * length * out[1] / 1e9,
    )  # fmt: skip


def _fed(array: np.ndarray, spec: BlobSpec, params: QuantParams | None) -> np.ndarray:
    if spec.dtype == DataType.INT8 and array.dtype != np.int8:
        assert params is not None  # of an int8 blob
        return quantized(np.asarray(array, np.float32), params)
    return np.asarray(array)
