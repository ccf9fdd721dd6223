"""All 256 codes for blobs that an fp32 average pooling reads: what it gives is shifted back right after it.

An average of values that are all ``z * scale`` too low is as much too low, for any windows. One BatchNorm
layer on the pooled values, of which there are few, shifts them back.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tnnquant.base.names import unused_name
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.graph import Graph, Node, Resource
from tnnquant.layers.batch_norm import BatchNorm
from tnnquant.layers.pooling import AVERAGE, Pooling

__all__ = ["REASON", "averages", "with_shifts_undone"]

REASON = "shifts averages back: the int8 codes that were averaged use all 256 values, 0 being -128"


def averages(node: Node) -> bool:
    """Whether the layer is an average pooling."""
    return isinstance(node.layer, Pooling) and node.layer.pool_type == AVERAGE


def with_shifts_undone(graph: Graph, zero: Mapping[str, np.ndarray]) -> Graph:
    """The graph with a layer after every fp32 average pooling whose input has shifted codes.

    Parameters
    ----------
    graph : Graph
        With flags and scales of the int8 model.
    zero : mapping of str to int64 (C,)
        The codes that mean 0, of the blobs where that is not 0.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.quantized or not averages(node) or node.inputs[0] not in zero:
            nodes.append(node)
            continue
        blob, codes = node.outputs[0], zero[node.inputs[0]]
        low = unused_name(f"{blob}_shifted", graph.blob_names())
        bias = (-codes * graph.scales[node.inputs[0]].scale.astype(np.float64)).astype(np.float32)
        tensors = {"scale": Tensor(np.ones_like(bias), (), DataType.FLOAT), "bias": Tensor(bias, (), DataType.FLOAT)}
        name = unused_name(f"{node.name}_unshift", {other.name for other in graph.nodes})
        resource = Resource(tensors, {}, "BatchNormCxx")
        nodes += [node.replace(outputs=(low,)), Node(name, "BatchNormCxx", BatchNorm(), (low,), (blob,), resource)]
    return graph.with_nodes(nodes)
