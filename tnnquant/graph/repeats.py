"""Networks in which some channels are made several times, for a finer int8 code; in fp32 they give the same.

The recipe ``best`` makes them (:mod:`tnnquant.recipes.best.repeats`). Whatever compares such an int8 model with the
fp32 model it was made from gives the latter the same channels first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.graph.graph import Graph, Node
from tnnquant.graph.moved_products import pooled_products, with_moved_product
from tnnquant.graph.traces import GUARD_BIAS
from tnnquant.layers.base import QuantRole
from tnnquant.layers.binary import Add
from tnnquant.layers.convolution import Convolution, bias_array
from tnnquant.layers.pooling import Pooling

__all__ = ["Join", "Site", "repeated_like", "sites_of_graph", "weight_of", "with_repeats"]


#: Cosine of the weights of two outputs, at least, if one repeats the other.
_ALIKE = 0.9


@dataclass(frozen=True, eq=False)
class Join:
    """An Add on the way of a residual stream.

    Attributes
    ----------
    branch : Node
        The convolution that makes what is added; nothing else reads that.
    add : Node
    before : str
        The stream's blob that it is added to.
    """

    branch: Node
    add: Node
    before: str


@dataclass(frozen=True, eq=False)
class Site:
    """Where channels may be repeated.

    Attributes
    ----------
    maker : Node
    between : Node or None
        A depthwise convolution or a max pooling.
    readers : tuple of Node
    joins : tuple of Join
        Of a residual stream, in its order.
    """

    maker: Node
    between: Node | None
    readers: tuple[Node, ...]
    joins: tuple[Join, ...] = ()

    @property
    def depthwise(self) -> Node | None:
        """What stands between, if it is a depthwise convolution."""
        return self.between if self.between is not None and isinstance(self.between.layer, Convolution) else None

    @property
    def makers(self) -> tuple[Node, ...]:
        """The layers that make what is repeated."""
        first = (self.maker,) if self.between is None else (self.maker, self.between)
        return (*first, *(join.branch for join in self.joins))

    @property
    def blobs(self) -> tuple[str, ...]:
        """The blobs whose channels are repeated, but those that are only added to one."""
        first = (self.maker,) if self.between is None else (self.maker, self.between)
        return tuple(node.outputs[0] for node in (*first, *(join.add for join in self.joins)))

    @property
    def channels(self) -> int:
        """Of each of these blobs."""
        return self.maker.layer.expect(Convolution).output_channel


def sites_of_graph(graph: Graph) -> list[Site]:
    """All sites of a graph, in the order of the layers they begin with."""
    readers, producers = graph.consumers(), graph.producers()
    sites = (_site_at(node, readers, graph.outputs, producers) for node in graph.nodes)
    return [site for site in sites if site is not None]


def _site_at(
    node: Node, readers: Mapping[str, list[Node]], outputs: Collection[str], producers: Mapping[str, Node]
) -> Site | None:
    """The site that begins with a layer, if one does.

    Parameters
    ----------
    node : Node
    readers : mapping of str to list of Node
        Who reads each blob.
    outputs : collection of str
        Blobs that must stay as they are.
    producers : mapping of str to Node
        Who makes each blob.
    """
    if not _is_plain(node) or node.outputs[0] in outputs:
        return None
    after, between = readers.get(node.outputs[0], []), None
    if len(after) == 1 and (_is_depthwise(after[0], node) or _is_max_pooling(after[0])):
        between = after[0]
        if between.outputs[0] in outputs:
            return None
        after = readers.get(between.outputs[0], [])
    if after and all(map(_is_plain, after)):
        return Site(node, between, tuple(after))
    return _stream_at(node, readers, outputs, producers) if between is None else None


def _stream_at(
    node: Node, readers: Mapping[str, list[Node]], outputs: Collection[str], producers: Mapping[str, Node]
) -> Site | None:
    """The residual stream that begins with a convolution: convolutions and Adds read it, and what these Adds make."""
    blob, joins, found = node.outputs[0], [], []
    while blob:
        after, further = readers.get(blob, []), ""
        found += [reader for reader in after if _is_plain(reader)]
        adds = [reader for reader in after if not _is_plain(reader)]
        if blob in outputs or len(adds) > 1:
            return None
        for add in adds:
            join = _join(add, blob, readers, outputs, producers)
            if join is None:
                return None
            joins.append(join)
            further = add.outputs[0]
        blob = further
    # A branch is itself made by a convolution that an Add reads, but nothing else.
    starts = any(_is_plain(reader) for reader in readers.get(node.outputs[0], []))
    return Site(node, None, tuple(found), tuple(joins)) if starts and joins and found else None


def _join(
    add: Node, blob: str, readers: Mapping[str, list[Node]], outputs: Collection[str], producers: Mapping[str, Node]
) -> Join | None:
    if type(add.layer) is not Add or len(set(add.inputs)) != 2:
        return None
    (other,) = set(add.inputs) - {blob}
    branch, maker = producers.get(other), producers.get(blob)
    if branch is None or maker is None or not _is_plain(branch) or other in outputs or len(readers[other]) != 1:
        return None
    return Join(branch, add, blob)


def _is_plain(node: Node) -> bool:
    return isinstance(node.layer, Convolution) and node.layer.group == 1 and len(node.inputs) == 1


def _is_max_pooling(node: Node) -> bool:
    """Which takes the largest of codes as of what they mean: the same, however they are moved before rounding."""
    return isinstance(node.layer, Pooling) and node.layer.role == QuantRole.PASS


def _is_depthwise(node: Node, maker: Node) -> bool:
    layer, count = node.layer, maker.layer.expect(Convolution).output_channel
    if not isinstance(layer, Convolution) or len(node.inputs) != 1:
        return False
    return (layer.group, layer.output_channel, layer.input_channel) == (count, count, 1)


def weight_of(node: Node) -> np.ndarray:
    """The weights of a convolution, float32 (OC, C/G, KH, KW)."""
    return node.layer.expect(Convolution).weight_array(node.tensors)


def with_repeats(graph: Graph, chosen: Sequence[tuple[Site, np.ndarray]]) -> Graph:
    """The graph with more channels, which gives the same: those repeated are the last ones.

    Parameters
    ----------
    graph : Graph
        In fp32.
    chosen : sequence of (Site, int64 (n,))
        Of :func:`tnnquant.recipes.best.repeats.chosen_channels`, with the layers of this graph.
    """
    nodes = {node.name: node for node in graph.nodes}
    for site, channels in chosen:
        nodes[site.maker.name] = _taller(nodes[site.maker.name], channels)
        if site.depthwise is not None:
            nodes[site.depthwise.name] = _taller(nodes[site.depthwise.name], channels)
        for join in site.joins:
            nodes[join.branch.name] = _taller(nodes[join.branch.name], channels)
        times = 1 + np.bincount(channels, minlength=site.channels)
        for reader in site.readers:
            nodes[reader.name] = _wider(nodes[reader.name], channels, times)
    return graph.with_nodes(nodes[node.name] for node in graph.nodes)


def _taller(node: Node, channels: np.ndarray) -> Node:
    """A layer that makes some of its outputs once more, at the end."""
    layer = node.layer.expect(Convolution)
    rows = np.append(np.arange(layer.output_channel), channels)
    tensors = {"filter": weight_of(node)[rows]}
    # Also one that the parameter denies: the int8 form adds what is in the file.
    bias = bias_array(node.tensors, 1, layer.output_channel)
    if bias is not None:
        tensors["bias"] = bias[rows]
    changes = {"output_channel": len(rows)} | ({"group": len(rows)} if layer.group > 1 else {})
    return _with(node, tensors, changes)


def _wider(node: Node, channels: np.ndarray, times: np.ndarray) -> Node:
    """A layer that reads some of its inputs once more, at the end, and takes the mean of each."""
    weight = weight_of(node) / times.reshape(1, -1, 1, 1).astype(np.float32)
    weight = np.concatenate([weight, weight[:, channels]], axis=1)
    return _with(node, {"filter": weight}, {"input_channel": weight.shape[1]})


def _with(node: Node, arrays: Mapping[str, np.ndarray], changes: Mapping[str, int]) -> Node:
    new = {
        name: Tensor(np.ascontiguousarray(array, np.float32).reshape(-1), (), DataType.FLOAT)
        for name, array in arrays.items()
    }
    resource = node.resource and replace(node.resource, tensors={**node.tensors, **new})
    return node.replace(layer=replace(node.layer.expect(Convolution), **changes), resource=resource)


def repeated_like(quantized: Graph, fp32: Graph) -> Graph:
    """The fp32 network with the channels that an int8 model made from it has more than once, and with those inner
    products moved that it has as convolutions (:mod:`tnnquant.graph.moved_products`).

    Parameters
    ----------
    quantized : Graph
        As in its file.
    fp32 : Graph
        In the form that is quantized.
    """
    stored = {node.name: node for node in quantized.nodes if node.quantized}
    for pair in pooled_products(fp32, {name for name, node in stored.items() if isinstance(node.layer, Convolution)}):
        fp32 = with_moved_product(fp32, pair)
    found = []
    for site in sites_of_graph(fp32):
        twin = stored.get(site.maker.name)
        if twin is not None and (channels := _repeated(twin, site.channels)).size:
            found.append((site, channels))
    return with_repeats(fp32, found) if found else fp32


def _repeated(node: Node, count: int) -> np.ndarray:
    """Which of the first ``count`` outputs of an int8 convolution each further one repeats, but guards; none if one
    of them repeats none."""
    none = np.zeros(0, np.int64)
    if not isinstance(node.layer, Convolution):
        return none
    total = node.layer.output_channel
    if total <= count or not {"filter", "scale", "bias"} <= node.tensors.keys():
        return none
    rows, bias = node.tensors["filter"].data, node.tensors["bias"].data
    if rows.size % total or bias.size != total or node.tensors["scale"].size != total:
        return none
    rows = rows.reshape(total, -1)
    more = [i for i in range(count, total) if rows[i].any() or bias[i] != GUARD_BIAS]
    if not more:
        return none
    # A copy makes up for what rounding did to those before it: its weights are not the same, but nearly so.
    weights = rows * node.tensors["scale"].float32().astype(np.float64)[:, None]
    lengths = np.sqrt(np.square(weights).sum(axis=1))
    likeness = weights[more] @ weights[:count].T / np.maximum(np.outer(lengths[more], lengths[:count]), 1e-300)
    likeness[np.equal.outer(lengths[more] == 0, lengths[:count] == 0) & (lengths[more] == 0)[:, None]] = 1
    return none if likeness.max(axis=1).min() < _ALIKE else likeness.argmax(axis=1)
