"""The fp32 network that the recipe ``best`` works on, with all that int8 layers may need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph import Graph, Node
from tnnquant.graph.moved_products import with_moved_product
from tnnquant.graph.patterns import fused_names
from tnnquant.graph.repeats import with_repeats
from tnnquant.layers.base import QuantRole
from tnnquant.layers.weighted import Weighted
from tnnquant.quantization.plan import QuantPlan, make_plan
from tnnquant.quantization.quantize import plan_graph, ready
from tnnquant.recipes.best.grids import Grid
from tnnquant.recipes.best.islands import LONE, useful_plan, without
from tnnquant.recipes.best.last_product import movable_products
from tnnquant.recipes.best.repeats import JUDGED, chosen_channels, joins_of, offsets_of
from tnnquant.recipes.best.shifted_copies import REASON, Copies, copyable, lopsided, with_copies

__all__ = ["Network", "prepare", "with_moved_products", "with_useful_copies", "with_useful_repeats"]


@dataclass(frozen=True, eq=False)
class Network:
    """What is quantized.

    Attributes
    ----------
    executor : Executor
        Of the fp32 graph.
    plan : QuantPlan
        With as many int8 layers as are useful.
    config : QuantizeConfig
        That the plan follows.
    fused : dict of str to str
        Layers that became part of others, with their names.
    copies : Copies
        Layers that no other recipe has.
    offsets : dict of str to float64 (C,)
        Of blobs with repeated channels (:mod:`tnnquant.recipes.best.repeats`).
    joins : dict of str to (str, str)
        Of blobs that are added to such a one: what the sum is called, and what they are added to.
    repeated : dict of str to int64 (n,)
        Of layers that make repeated channels: which output each of the last n makes once more.
    """

    executor: Executor
    plan: QuantPlan
    config: QuantizeConfig
    fused: Mapping[str, str]
    copies: Copies
    offsets: Mapping[str, np.ndarray] = field(default_factory=dict)
    joins: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    repeated: Mapping[str, np.ndarray] = field(default_factory=dict)


def prepare(graph: Graph, config: QuantizeConfig) -> Network:
    """Plan a graph, with a bias in every weighted layer; nothing has run yet."""
    config = replace(config, blob_method="minmax", weight_method="minmax", merge_type="channel")
    planned, plan = plan_graph(_with_biases(ready(graph, config)), config)
    executor = Executor(planned.graph, config.input_dims, exact=False)
    # If no layer may stay in fp32, those become int8 too that gain little from it.
    useful = plan if config.fp32_share == 0 else _useful(executor, plan)
    return Network(executor, useful, config, fused_names(graph, planned.graph), Copies())


def with_moved_products(network: Network) -> Network:
    """The network with its last inner product before the average pooling it reads, if that is worth it.

    Parameters
    ----------
    network : Network
        Of :func:`prepare`.
    """
    pairs = movable_products(network.executor.inference, network.plan)
    if not pairs:
        return network
    graph = network.executor.graph
    for pair in pairs:
        graph = with_moved_product(graph, pair)
    return _planned_again(network, graph)


def with_useful_repeats(
    network: Network, samples: Sequence, judged: int = JUDGED, streams: bool = True
) -> Network:
    """The network with those channels repeated whose rounding does most harm on some samples.

    Parameters
    ----------
    network : Network
        Of :func:`prepare`.
    samples : sequence of Sample
    judged, streams
        See :func:`~tnnquant.recipes.best.repeats.chosen_channels`.
    """
    chosen = chosen_channels(network.executor, network.plan, samples, judged, streams)
    if not chosen:
        return network
    graph = with_repeats(network.executor.graph, chosen)
    repeated = {node.name: channels for site, channels in chosen for node in site.makers}
    again, offsets, joins = _planned_again(network, graph), offsets_of(chosen), joins_of(chosen)
    return replace(again, offsets=offsets, joins=joins, repeated=repeated)


def _planned_again(network: Network, graph: Graph) -> Network:
    """The network with another graph; what was fp32 stays so."""
    before, config = network.executor.graph, network.config
    int8 = {before.nodes[position].name for position in network.plan.int8}
    executor = Executor(graph, config.input_dims, exact=False)
    nodes = executor.graph.nodes
    plan = make_plan(executor.inference, config, network.fused)
    plan = without(executor.inference, plan, {p for p in plan.int8 if nodes[p].name not in int8}, LONE)
    return replace(network, executor=executor, plan=plan)


def with_useful_copies(
    network: Network, samples: Sequence, grids: Mapping[str, Grid], looked_at: int = 2 * JUDGED
) -> Network:
    """The network with copies of the blobs that some samples show to be worth it.

    Parameters
    ----------
    network : Network
        Of :func:`prepare`.
    samples : sequence of Sample
    grids : mapping of str to Grid
        Of the inputs: those that need a shift to be held exactly get a copy.
    looked_at : int
        Samples that show it, at most.
    """
    executor, plan = network.executor, network.plan
    pads = copyable(executor.inference, plan)
    shifted = {blob for blob, grid in grids.items() if grid.is_shifted}
    uneven = lopsided(executor, samples, pads.keys() - shifted, looked_at)
    chosen = {blob: pads[blob] for blob in pads if blob in shifted or blob in uneven}
    if not chosen:
        return network
    channels = {blob: executor.specs[blob].dims[1] for blob in chosen}
    graph, copies = with_copies(executor.graph, plan, chosen, channels)
    again = _planned_again(network, graph)
    nodes = again.executor.graph.nodes
    reasons = {position: REASON for position, node in enumerate(nodes) if copies.makes(node)}
    return replace(again, plan=replace(again.plan, reasons={**again.plan.reasons, **reasons}), copies=copies)


def _useful(executor: Executor, plan: QuantPlan) -> QuantPlan:
    useful = useful_plan(executor.inference, plan)
    return useful if useful.int8 else plan


def _with_biases(graph: Graph) -> Graph:
    """The graph with a bias of zeros in every weighted layer that has none: it takes up what rounding shifts."""

    def with_bias(node: Node) -> Node:
        if node.layer.role != QuantRole.WEIGHTED or node.resource is None or node.quantized:
            return node
        layer = node.layer.expect(Weighted)
        if getattr(layer, layer.BIAS_FLAG) and "bias" in node.tensors and node.tensors["bias"].size:
            return node
        if layer.WEIGHTS not in node.tensors or not node.tensors[layer.WEIGHTS].size:
            return node
        count = layer.weight_array(node.tensors).shape[0]
        bias = Tensor(np.zeros(count, np.float32), (), DataType.FLOAT)
        return node.with_tensors({**node.tensors, "bias": bias}).replace(layer=replace(layer, **{layer.BIAS_FLAG: 1}))

    return graph.with_nodes(with_bias(node) for node in graph.nodes)
