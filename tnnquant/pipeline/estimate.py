"""What a plan says of the model before it is made: its size, and how much of its work is in int8."""

from __future__ import annotations

from dataclasses import dataclass

from tnnquant.engine.executor import Executor
from tnnquant.layers.weighted import Weighted
from tnnquant.quantization.plan import QuantPlan

__all__ = ["Estimate", "estimate"]

#: Bytes of a stored scale with its header's share, and of a zero point, each per output channel.
_SCALE, _ZERO = 4, 1
#: Bytes of a blob's scale and bias, per channel.
_BLOB = 8


@dataclass(frozen=True)
class Estimate:
    """Of the model that a plan makes.

    Attributes
    ----------
    bytes : int
        Of proto and model, within a few per cent.
    int8_share : float
        Of the multiplications, 0 to 1.
    """

    bytes: int
    int8_share: float


def estimate(executor: Executor, plan: QuantPlan, before: int) -> Estimate:
    """The estimate for the fp32 model of ``executor``, whose files have ``before`` bytes."""
    graph, specs = executor.graph, executor.specs
    size, macs, int8_macs = before, 0, 0
    for position, node in enumerate(graph.nodes):
        work = node.layer.macs([specs[blob] for blob in node.inputs], [specs[blob] for blob in node.outputs])
        macs += work
        if position not in plan.int8:
            continue
        int8_macs += work
        if isinstance(node.layer, Weighted) and node.tensors:
            weight = max(node.tensors.values(), key=lambda tensor: tensor.size)
            channels = specs[node.outputs[0]].dims[1]
            size += weight.size - weight.data.nbytes + channels * (_SCALE + _ZERO)
    size += sum(_BLOB * blob.slots for blob in plan.blobs.values())
    return Estimate(size, int8_macs / macs if macs else 0.0)
