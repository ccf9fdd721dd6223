"""Networks whose last inner product stands before the average pooling, not after it; in fp32 they give the same.

An inner product of averages is the average of inner products, each of one place: a 1x1 convolution and the pooling
after it. In int8 the two are not the same. An inner product has one scale for all it reads and one for all it makes,
and the rounding of its outputs arrives whole. As a convolution it has a scale per channel, reads codes as they are, and
its rounding is averaged over the places.

The recipe ``best`` makes such networks (:mod:`tnnquant.recipes.best.last_product`). Whatever compares such an int8
model with the fp32 model it was made from gives the latter the same layers first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tnnquant.base.names import unused_name
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.graph.graph import Graph, Node, Resource
from tnnquant.layers.convolution import EXPLICIT, Convolution
from tnnquant.layers.inner_product import InnerProduct
from tnnquant.layers.pooling import AVERAGE, Pooling
from tnnquant.layers.reshape import Reshape

__all__ = ["PooledProduct", "pooled_products", "with_moved_product"]


@dataclass(frozen=True, eq=False)
class PooledProduct:
    """An average pooling and the inner product that alone reads what it makes.

    Attributes
    ----------
    pooling, product : Node
    """

    pooling: Node
    product: Node


def pooled_products(graph: Graph, only: Collection[str] | None = None) -> list[PooledProduct]:
    """Where an inner product may be moved, if the pooling makes one place of all, in the order of the layers.

    Parameters
    ----------
    graph : Graph
    only : collection of str, optional
        Names of the inner products that are looked at.
    """
    readers, makers = graph.consumers(), graph.producers()
    found = []
    for node in graph.nodes:
        if not isinstance(node.layer, InnerProduct) or (only is not None and node.name not in only):
            continue
        pooling = makers.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if pooling is None or not isinstance(pooling.layer, Pooling) or pooling.layer.pool_type != AVERAGE:
            continue
        if len(readers.get(pooling.outputs[0], ())) == 1 and pooling.outputs[0] not in graph.outputs:
            found.append(PooledProduct(pooling, node))
    return found


def with_moved_product(graph: Graph, pair: PooledProduct) -> Graph:
    """The graph with the inner product as a 1x1 convolution before the pooling, under its name.

    Parameters
    ----------
    graph : Graph
        In fp32.
    pair : PooledProduct
        Of the graph; the pooling makes one place of all.
    """
    pooling, product = pair.pooling, pair.product
    taken = graph.blob_names() | {node.name for node in graph.nodes}
    target = product.outputs[0]
    places = unused_name(f"{target}_places", taken)
    pooled = unused_name(f"{target}_pooled", taken | {places})
    outputs = product.layer.expect(InnerProduct).num_output
    moved = (
        _convolution(product, pooling.inputs, (places,)),
        pooling.replace(inputs=(places,), outputs=(pooled,)),
        Node(pooled, Reshape.TYPE_NAMES[0], Reshape(0, 2, (0, outputs), 0), (pooled,), (target,)),
    )
    nodes: list[Node] = []
    for node in graph.nodes:
        if node is product:
            nodes += moved
        elif node is not pooling:
            nodes.append(node)
    return graph.with_nodes(nodes)


def _convolution(product: Node, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Node:
    layer = product.layer.expect(InnerProduct)
    weight, bias = layer.weight_array(product.tensors), layer.bias_array(product.tensors)
    convolution = Convolution(
        group=1, input_channel=weight.shape[1], output_channel=weight.shape[0], kernel_h=1, kernel_w=1, stride_h=1,
        stride_w=1, pad_h=0, pad_w=0, bias=1, pad_type=EXPLICIT,
    )  # fmt: skip
    bias = np.zeros(len(weight), np.float32) if bias is None else bias
    tensors = {
        name: Tensor(np.ascontiguousarray(array, np.float32).reshape(-1), (), DataType.FLOAT)
        for name, array in (("filter", weight), ("bias", bias))
    }
    kind = Convolution.TYPE_NAMES[0]
    return Node(product.name, kind, convolution, inputs, outputs, Resource(tensors, {}, kind))

