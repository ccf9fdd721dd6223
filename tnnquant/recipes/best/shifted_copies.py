"""All 256 codes for blobs that fp32 layers make: hardly a value is below 0 after a swish or in a picture of 0..1.

Symmetric codes waste almost half of their range on such a blob. Before it becomes int8, an identity layer in fp32, a
depthwise 1x1 convolution, copies it with a bias of ``z * scale`` in each channel, so that the code z, not 0, means 0
and the lowest code the lowest value. The layers that read the copy correct for it in their biases. Where they pad, the
copy does it for them: beyond the border its value is the bias alone, the code z. Layers with stride 2 often pad more
below and on the right; the copy then has windows of 2 by 2 places, of which one counts (:mod:`tnnquant.graph.copies`).

Copies are in the fp32 network from the beginning, with a bias of 0, so that their blobs have statistics and scales of
their own; those that are not needed are taken out again in the end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.names import unused_name
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.engine.executor import Executor
from tnnquant.graph import Graph, Node, Resource
from tnnquant.graph.copies import Border, copying_convolution
from tnnquant.graph.infer import Inference
from tnnquant.graph.meaning import without_copies
from tnnquant.layers.convolution import EXPLICIT, VALID, Convolution
from tnnquant.quantization.plan import QuantPlan
from tnnquant.recipes.best.guards import guardable, is_plain
from tnnquant.recipes.best.lanes import in_lanes

if TYPE_CHECKING:
    from tnnquant.inputs.samples import Sample

__all__ = ["REASON", "Copies", "copyable", "final_codes", "lopsided", "with_copies"]

REASON = "copies a blob for the int8 layers that read it, shifted so that its codes use all 256 values"
_LOWEST = -128
#: A copy is made if the values span a smaller part of a symmetric range (geometric mean over channels).
_PART = 0.75


def copyable(inference: Inference, plan: QuantPlan) -> dict[str, Border]:
    """The blobs that fp32 layers make and int8 convolutions alone read in int8, all with the same pads: these, by blob.

    Not those that have all codes without a copy: after an fp32 convolution with a ReLU
    (:mod:`tnnquant.recipes.best.full_range`).

    Parameters
    ----------
    inference : Inference
        Of the fp32 graph.
    plan : QuantPlan
    """
    nodes = inference.graph.nodes
    made = {blob for position in plan.int8 for blob in nodes[position].outputs}
    found: dict[str, Border | None] = {}
    for position in sorted(plan.int8):
        for blob in nodes[position].inputs:
            pads = _pads(nodes[position], inference)
            found[blob] = pads if found.get(blob, pads) == pads else None
    made |= _saturated(inference, plan)
    return {blob: pads for blob, pads in found.items() if pads is not None and blob not in made}


def _saturated(inference: Inference, plan: QuantPlan) -> set[str]:
    """Blobs of fp32 convolutions with a ReLU that int8 layers alone read, and that can have guards if they need any."""
    graph, specs = inference.graph, inference.specs
    int8 = {graph.nodes[position].name for position in plan.int8}
    readers = graph.consumers()
    return {
        node.outputs[0]
        for node in graph.nodes
        if is_plain(node)
        and node.layer.rectifies
        and node.outputs[0] not in graph.outputs
        and guardable(node, [(reader, reader.name in int8) for reader in readers.get(node.outputs[0], ())], specs)
    }


def _pads(node: Node, inference: Inference) -> Border | None:
    """What a resolved convolution pads, as far as its windows reach."""
    layer = node.layer
    if not isinstance(layer, Convolution) or min(layer.pad_h, layer.pad_w) < 0:
        return None
    if layer.pad_type == EXPLICIT:
        return Border.even(layer.pad_h, layer.pad_w)
    if layer.pad_type == VALID:
        return Border.even(0, 0)
    size, out = (inference.specs[blob].dims[2:] for blob in (node.inputs[0], node.outputs[0]))
    windows = zip(
        size, out, (layer.kernel_h, layer.kernel_w), (layer.stride_h, layer.stride_w),
        (layer.dilation_h, layer.dilation_w), (layer.pad_h, layer.pad_w), strict=True,
    )  # fmt: skip
    after = [
        max((count - 1) * stride + dilation * (kernel - 1) + 1 - before - pad, 0)
        for before, count, kernel, stride, dilation, pad in windows
    ]
    return Border(layer.pad_h, after[0], layer.pad_w, after[1])


def lopsided(executor: Executor, samples: Sequence, blobs: Collection[str], looked_at: int = 8) -> list[str]:
    """The blobs whose values lie mostly above 0, by some of the samples.

    Parameters
    ----------
    executor : Executor
        Of the fp32 graph.
    samples : sequence of Sample
    blobs : collection of str
        Of rank 4.
    looked_at : int
        Samples, at most.
    """
    if not blobs:
        return []
    chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, min(looked_at, len(samples))).astype(int)]

    def extremes(mine: Executor, sample: Sample) -> dict[str, np.ndarray]:
        seen: dict[str, np.ndarray] = {}

        def tap(name: str, x: np.ndarray) -> None:
            if name in blobs:
                seen[name] = np.stack([-x.min(axis=(0, 2, 3)), x.max(axis=(0, 2, 3))])

        if inputs >= frozenset(blobs):  # nothing needs to be run
            for name, array in sample.arrays.items():
                tap(name, array)
        else:
            mine.run_sample(sample, tap)
        return seen

    inputs = frozenset(executor.graph.inputs)
    found = in_lanes(executor, chosen, extremes)
    return [blob for blob in blobs if _is_lopsided(np.max([seen[blob] for seen in found], axis=0))]


def _is_lopsided(extremes: np.ndarray) -> bool:
    below, above = np.maximum(extremes, 0).astype(np.float64)
    largest = np.maximum(below, above)
    alive = np.isfinite(largest) & (largest > 0)
    if not alive.any():
        return False
    part = (below + above)[alive] / (2 * largest[alive])
    return bool(np.exp(np.log(part).mean()) < _PART and (above >= below)[alive].mean() > 0.5)


@dataclass(frozen=True, eq=False)
class Copies:
    """The copies in a graph.

    Attributes
    ----------
    sources : dict of str to str
        What each copy is of, by the name of its blob.
    readers : dict of str to Convolution
        The layers of their readers before they read a copy, by name.
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    readers: Mapping[str, Convolution] = field(default_factory=dict)

    def makes(self, node: Node) -> bool:
        """Whether the layer makes a copy."""
        return bool(node.outputs) and node.outputs[0] in self.sources

    def settled(self, graph: Graph, zero: Mapping[str, np.ndarray]) -> Graph:
        """The graph without the copies whose codes mean what they say anyway, or that are not int8 at all.

        Parameters
        ----------
        graph : Graph
            With flags and scales of the int8 model.
        zero : mapping of str to int64 (C,)
            The codes that mean 0, of the blobs where that is not 0.
        """
        needless = {blob: source for blob, source in self.sources.items() if blob not in zero}
        return without_copies(graph, needless, self.readers)


def with_copies(
    graph: Graph, plan: QuantPlan, pads: Mapping[str, Border], channels: Mapping[str, int]
) -> tuple[Graph, Copies]:
    """The graph with copies of some blobs, which the int8 layers read.

    Parameters
    ----------
    graph : Graph
        In fp32.
    plan : QuantPlan
        Of the graph.
    pads : mapping of str to Border
        What the readers of each blob to copy pad (:func:`copyable`).
    channels : mapping of str to int
        Of these blobs.
    """
    taken = graph.blob_names() | {node.name for node in graph.nodes}
    copies: dict[str, str] = {}
    readers: dict[str, Convolution] = {}
    nodes: list[Node] = []
    for position, node in enumerate(graph.nodes):
        source = node.inputs[0] if position in plan.int8 else ""
        if source in pads:
            if source not in copies:
                copies[source] = unused_name(f"{source}_copy", taken | set(copies.values()))
                nodes.append(_copy(source, copies[source], channels[source], pads[source]))
            padded = node.layer.expect(Convolution)
            readers[node.name] = padded
            bare = replace(padded, pad_h=0, pad_w=0, pad_type=EXPLICIT)
            node = node.replace(layer=bare, inputs=(copies[source],))
        nodes.append(node)
    return graph.with_nodes(nodes), Copies({copy: source for source, copy in copies.items()}, readers)


def _copy(source: str, copy: str, channels: int, pads: Border) -> Node:
    layer, weight = copying_convolution(channels, pads)
    tensors = {
        "filter": Tensor(weight.reshape(-1), weight.shape, DataType.FLOAT),
        "bias": Tensor(np.zeros(channels, np.float32), (channels,), DataType.FLOAT),
    }
    return Node(copy, "Convolution", layer, (source,), (copy,), Resource(tensors, {}, "Convolution"))


def final_codes(zero: np.ndarray, low: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The codes that mean 0 once the scales are known: as high as values below 0 need.

    Parameters
    ----------
    zero : int64 (slots,)
        Where 0 would be without any.
    low : float64 (slots,)
        How far values go below 0, of slots with copies; else 0.
    scale : float64 (slots,)
    """
    steps = np.ceil(low / np.where(scale > 0, scale, 1)).astype(np.int64)
    return np.where(low > 0, np.minimum(zero + steps, 0), zero)
