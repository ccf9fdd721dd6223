"""Blobs between fp32 layers that the file rounds to codes: TNN rounds what an int8 layer reads.

An int8 Reshape to the same dims moves codes and does nothing else. Where the file's zero point is not 0, values are
shifted in front of it and back behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.graph import Graph, Node, Resource
from tnnquant.layers.base import BlobSpec, find_layer
from tnnquant.onnx.qdq.record import BlobCodes
from tnnquant.recipes.best.unshift import unused

__all__ = ["with_rounding"]


def with_rounding(
    graph: Graph, nodes: Sequence[Node], specs: Mapping[str, BlobSpec], codes: Mapping[str, BlobCodes],
    scales: dict[str, QuantParams],
) -> tuple[list[Node], list[str]]:  # fmt: skip
    """Round the outputs of fp32 layers that have codes and that no int8 layer reads.

    Only blobs of one pixel, as scores are: there a step shows. Larger ones stay as they are, closer to the network that
    the file was made of.

    Parameters
    ----------
    graph : Graph
        Its names are taken.
    nodes : sequence of Node
        Of the int8 model.
    specs : mapping of str to BlobSpec
    codes : mapping of str to BlobCodes
    scales : dict of str to QuantParams
        Those of the blobs that are made are added.

    Returns
    -------
    nodes : list of Node
    rounded : list of str
        Blobs.
    """
    read = {blob for node in nodes if node.quantized for blob in (*node.inputs, *node.outputs)}
    taken = set(graph.blob_names()) | {node.name for node in nodes}
    made: list[Node] = []
    rounded: list[str] = []
    for node in nodes:
        blob = node.outputs[0]
        if node.quantized or blob in read or blob not in codes or prod(specs[blob].dims[2:]) != 1:
            made.append(node)
            continue
        exact = _taken(f"{blob}_exact", taken)
        made.append(node.replace(outputs=(exact, *node.outputs[1:])))
        made += _rounding(exact, blob, specs[blob].dims, codes[blob], scales, taken)
        rounded.append(blob)
    return made, rounded


def _rounding(
    source: str, target: str, dims: tuple[int, ...], codes: BlobCodes, scales: dict[str, QuantParams], taken: set[str]
) -> list[Node]:
    shift = (codes.zero * codes.scale.astype(np.float64)).astype(np.float32)
    nodes, last = [], target
    if shift.any():
        low = _taken(f"{target}_low", taken)
        nodes.append(_added(source, low, shift, taken))
        source, target = low, _taken(f"{target}_codes", taken)
    kind = find_layer("Reshape")
    identity = kind(axis=0, num_axes=len(dims), shape=dims, reshape_type=0)  # type: ignore[call-arg,misc]
    name = _taken(f"{target}_rounded", taken)
    nodes.append(Node(name, "Reshape", identity, (source,), (target,), quantized=True))
    scales[source] = scales[target] = QuantParams(codes.scale, np.zeros(codes.scale.size, np.int8))
    if target != last:
        nodes.append(_added(target, last, -shift, taken))
    return nodes


def _added(source: str, target: str, summand: np.ndarray, taken: set[str]) -> Node:
    """``source + summand``, one for all channels or one each."""
    kind = find_layer("BatchNormCxx")
    tensors = {
        "scale": Tensor(np.ones_like(summand), (), DataType.FLOAT), "bias": Tensor(summand, (), DataType.FLOAT)
    }  # fmt: skip
    resource = Resource(tensors, {}, "BatchNormCxx")
    name = _taken(f"{target}_shift", taken)
    return Node(name, "BatchNormCxx", kind(), (source,), (target,), resource)  # type: ignore[misc]


def _taken(name: str, taken: set[str]) -> str:
    found = unused(name, taken)
    taken.add(found)
    return found
