"""Quantize the weighted layers one after another, each for the codes that those before it really give it.

All samples go through a layer before the next is looked at; of each sample only the blobs that are
still read are kept, and of all layers the second moments of one. The layers are those that TNN executes
(:mod:`tnnquant.graph.lower`), in its int8 arithmetic, so that a layer also makes up for what rounding did before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tnnquant.base.arithmetic import exact_sums
from tnnquant.base.memory import release_freed
from tnnquant.base.tensor import DataType
from tnnquant.engine.steps import Step, make_step
from tnnquant.graph import Graph, Node, Resource
from tnnquant.graph.infer import infer, located
from tnnquant.graph.lower import lower
from tnnquant.layers.base import QuantRole
from tnnquant.layers.int8 import quantized
from tnnquant.recipes.best.lanes import in_lanes
from tnnquant.recipes.best.layer_input import LayerInput

__all__ = ["quantize_layers"]


Decide = Callable[[Node, LayerInput], Resource]


def quantize_layers(
    graph: Graph,
    inputs: Sequence[Mapping[str, np.ndarray]],
    windows: Mapping[str, int],
    decide: Decide,
    progress: Callable[[str, int, int], None] | None = None,
    input_dims=None,
) -> dict[str, Resource]:
    """Find the int8 tensors of every weighted int8 layer, in order.

    Parameters
    ----------
    graph : Graph
        With the flags and scales of the int8 model, and fp32 weights.
    inputs : sequence of mapping of str to ndarray
        Samples, by input name.
    windows : mapping of str to int
        Windows a sample that moments and means are made of, by layer name.
    decide : callable (node, LayerInput) -> Resource
        Quantizes one layer.
    progress : callable (stage, done, total), optional

    Returns
    -------
    dict of str to Resource
        By layer name.
    """
    inference = infer(lower(graph), input_dims)
    lowered, specs = inference.graph, inference.specs
    live = [
        {name: _fed(array, specs[name], lowered.scales.get(name)) for name, array in sample.items()}
        for sample in inputs
    ]
    constants = {name: tensor.array() for name, tensor in lowered.constants.items()}
    last = {blob: position for position, node in enumerate(lowered.nodes) for blob in node.inputs}
    found: dict[str, Resource] = {}
    weighted = sum(node.quantized and node.layer.role == QuantRole.WEIGHTED for node in lowered.nodes)
    for position, node in enumerate(lowered.nodes):
        if position in inference.folded:
            continue
        if node.quantized and node.layer.role == QuantRole.WEIGHTED:
            arrays = [blobs[node.inputs[0]] for blobs in live]
            with located(node):
                seen = LayerInput(node, arrays, specs[node.outputs[0]].dims, windows[node.name])
                found[node.name] = decide(node, seen)
                del seen
            node = node.replace(resource=found[node.name])
            release_freed()
            if progress:
                progress("weights", len(found), weighted)
            if len(found) == weighted:
                break
        step = make_step(node, lowered, specs)
        forgotten = [blob for blob in {*node.inputs, *node.outputs} if last.get(blob, -1) <= position]

        def forward(mine: Step, blobs: dict, forgotten=forgotten) -> None:
            with exact_sums(False):
                blobs.update(mine.forward({**constants, **blobs}))
            for blob in forgotten:
                blobs.pop(blob, None)

        with located(node):
            in_lanes(step, live, forward)
    return found


def _fed(array: np.ndarray, spec, params) -> np.ndarray:
    if spec.dtype == DataType.INT8 and array.dtype != np.int8:
        return quantized(np.asarray(array, np.float32), params)
    return np.asarray(array)
