"""The inner product behind an average pooling, moved before it where that costs little (all layers in int8).

What a classifier averages and multiplies at its end would be rounded twice there, with one scale each: the averages,
and the scores themselves. Before the pooling the scores are rounded at every place and averaged after it, in fp32
(:mod:`tnnquant.graph.moved_products`).
"""

from __future__ import annotations

from math import prod

from tnnquant.graph.infer import Inference
from tnnquant.graph.moved_products import PooledProduct, pooled_products
from tnnquant.quantization.plan import QuantPlan
from tnnquant.recipes.best.islands import layer_macs

__all__ = ["movable_products"]

#: Multiplications that moving adds, at most, as a share of all.
_MOST = 0.2


def movable_products(inference: Inference, plan: QuantPlan) -> list[PooledProduct]:
    """The int8 inner products that read the averages over all places of an int8 blob, and cost little for each place.

    Parameters
    ----------
    inference : Inference
        Of the fp32 graph.
    plan : QuantPlan
    """
    graph, specs = inference.graph, inference.specs
    int8 = {graph.nodes[position].name for position in plan.int8}
    made = {blob for position in plan.int8 for blob in graph.nodes[position].outputs}
    macs = layer_macs(inference)
    total = max(sum(macs.values()), 1)
    at = {node.name: position for position, node in enumerate(graph.nodes)}

    def is_worth_it(pair: PooledProduct) -> bool:
        source, pooled = (specs[blob].dims for blob in (pair.pooling.inputs[0], pair.pooling.outputs[0]))
        if pair.product.name not in int8 or pair.pooling.inputs[0] not in made or prod(pooled[2:]) != 1:
            return False
        places = prod(source[2:])
        return places > 1 and (places - 1) * macs.get(at[pair.product.name], 0) <= _MOST * total

    return [pair for pair in pooled_products(graph) if is_worth_it(pair)]
