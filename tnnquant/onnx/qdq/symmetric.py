"""Zero points made up for: TNN's devices have symmetric codes.

Where a code of -128 means 0, as behind a ReLU in uint8, a layer needs no activation: what is below saturates. The
convolution that makes the blob is lowered by 128 steps, and those that read it add the 128 steps of each channel to
their bias (:mod:`tnnquant.recipes.best.full_range`): the very codes of the file, less 128, in a file that says zero
point 0. (127 steps where a maximum is on the way: TNN's starts from the code -127.) That needs readers that do not pad.
Elsewhere the blob gets one symmetric scale for the range of its codes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tnnquant.graph import Graph, Node, QuantParams
from tnnquant.graph.infer import Inference
from tnnquant.layers.base import Layer, QuantRole
from tnnquant.onnx.qdq.record import BlobCodes
from tnnquant.recipes.best.guards import open_taps
from tnnquant.recipes.best.unshift import averages, with_shifts_undone

__all__ = ["Symmetric", "symmetric"]

_LOWEST, _POOLED, _HIGHEST = -128, -127, 127
_NO_ACTIVATION, _RELU6 = 0, 2


@dataclass(frozen=True, eq=False)
class Symmetric:
    """Scales of all blobs, with zero point 0.

    Attributes
    ----------
    scales : dict of str to QuantParams
    shifted : dict of str to int
        The code that means 0 of blobs that keep all their codes.
    rescaled : list of str
        Blobs whose codes become coarser.
    """

    scales: dict[str, QuantParams]
    shifted: dict[str, int] = field(default_factory=dict)
    rescaled: list[str] = field(default_factory=list)

    def bias_shift(self, node: Node, weight: np.ndarray, step: np.ndarray) -> np.ndarray:
        """What is added to a layer's int32 bias, float64 (outputs,): for shifts of its input and its output."""
        shift = np.zeros(step.size)
        zero = self.shifted.get(node.inputs[0], 0)
        if zero:
            shift -= zero * weight.astype(np.int64).reshape(step.size, -1).sum(axis=1)
        target = self.shifted.get(node.outputs[0], 0)
        if target:
            shift += np.rint(target * self.scales[node.outputs[0]].scale.astype(np.float64) / step)
        return shift

    def layer(self, node: Node) -> Layer:
        """The layer, without the activation that saturation stands for."""
        layer: Any = node.layer
        if node.outputs[0] in self.shifted and hasattr(layer, "activation_type"):
            return replace(layer, activation_type=_NO_ACTIVATION)
        return layer

    def finished(self, graph: Graph) -> Graph:
        """The graph with a layer behind each fp32 average of shifted codes, which shifts it back."""
        zero = {
            blob: np.full(self.scales[blob].scale.size, code, np.int64) for blob, code in self.shifted.items()
        }
        return with_shifts_undone(graph, zero) if zero else graph


def symmetric(
    graph: Graph, inference: Inference, codes: Mapping[str, BlobCodes], int8: Collection[str]
) -> Symmetric:
    """Choose how each blob's zero point is made up for.

    Parameters
    ----------
    graph : Graph
        In fp32, resolved.
    inference : Inference
        Of it.
    codes : mapping of str to BlobCodes
    int8 : collection of str
        The layers that will be int8, by name.
    """
    scales: dict[str, QuantParams] = {}
    shifted: dict[str, int] = {}
    rescaled: list[str] = []
    for group, noted in _groups(graph, codes, int8):
        zero, scale = _shift(group, noted, graph, inference, codes, int8), noted.scale
        if zero == _POOLED:
            scale = scale * np.float32((_HIGHEST - _LOWEST) / (_HIGHEST - _POOLED))
        elif not zero and noted.zero.any():
            reach = np.maximum(_HIGHEST - noted.zero, noted.zero - _LOWEST)
            scale = scale * (reach / _HIGHEST).astype(np.float32)
            rescaled += group
        if zero:
            shifted.update(dict.fromkeys(group, zero))
        scales.update({blob: QuantParams(scale, np.zeros(scale.size, np.int8)) for blob in group})
    return Symmetric(scales, shifted, rescaled)


def _groups(
    graph: Graph, codes: Mapping[str, BlobCodes], int8: Collection[str]
) -> list[tuple[list[str], BlobCodes]]:
    """Blobs that get one scale, with the codes that count for them.

    A maximum passes codes on. What a join alone reads may as well be made in the join's own scale: it is rounded once.
    """
    readers = graph.consumers()
    of = {blob: [blob] for blob in codes}
    noted = dict(codes)

    def unite(blob: str, other: str) -> None:
        if of[blob] is not of[other]:
            of[other].extend(of[blob])
            for each in of[blob]:
                of[each] = of[other]

    for node in reversed(graph.nodes):
        if node.name not in int8:
            continue
        out = node.outputs[0]
        if node.layer.role == QuantRole.PASS:
            unite(node.inputs[0], out)
        elif node.layer.JOINS_CHANNELS:
            for blob in dict.fromkeys(node.inputs):
                if codes[blob].zero.any() and len(readers[blob]) == 1 and blob not in graph.outputs:
                    noted[blob] = noted[out]
                    unite(blob, out)
    return [(group, noted[group[0]]) for group in {id(group): group for group in of.values()}.values()]


def _shift(
    group: Collection[str], noted: BlobCodes, graph: Graph, inference: Inference, codes: Mapping[str, BlobCodes],
    int8: Collection[str],
) -> int:  # fmt: skip
    """The code that means 0 if the blobs of a group can keep all their codes, else 0.

    They can if the lowest code means 0, int8 convolutions make them, and those who read them make up for it.
    """
    makers, readers = graph.producers(), graph.consumers()
    pools = False
    for blob in group:
        maker = makers.get(blob)
        if maker is None or maker.name not in int8 or blob in graph.outputs or (codes[blob].zero != _LOWEST).any():
            return 0
        if maker.layer.role == QuantRole.WEIGHTED:
            if not hasattr(maker.layer, "activation_type"):
                return 0
            if maker.layer.activation_type == _RELU6 and (noted.scale * (_HIGHEST - _LOWEST) > 6.01).any():
                return 0  # saturation must cut off where the activation does
        elif maker.layer.TYPE_NAMES[0] not in ("Concat", "Pooling") or not set(maker.inputs) <= set(group):
            return 0
        pools = pools or maker.layer.role == QuantRole.PASS
        for reader in readers.get(blob, ()):
            inside = reader.name in int8 and reader.layer.role != QuantRole.WEIGHTED and reader.outputs[0] in group
            if not inside and not _makes_up(reader, inference, int8):
                return 0
    return _POOLED if pools else _LOWEST


def _makes_up(node: Node, inference: Inference, int8: Collection[str]) -> bool:
    if node.name not in int8:
        return averages(node)
    if node.layer.role != QuantRole.WEIGHTED:
        return False
    return not hasattr(node.layer, "kernel_h") or not open_taps(node, inference.specs).any()
