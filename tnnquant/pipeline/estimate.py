"""What a plan says of the model before it is made: its size, how much of its work is in int8, how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

from tnnquant.base.tensor import DataType
from tnnquant.engine.executor import Executor
from tnnquant.layers.weighted import Weighted
from tnnquant.quantization.plan import QuantPlan

__all__ = ["Estimate", "estimate"]

#: What the file holds per output channel of int8 weights, scale and zero point; and of a blob: scale, zero point, and
#: a zero as bias (docs/tnn-format.md, 2.4).
_PER_CHANNEL = DataType.FLOAT.numpy.itemsize + DataType.INT8.numpy.itemsize
_PER_SLOT = _PER_CHANNEL + DataType.INT32.numpy.itemsize


@dataclass(frozen=True)
class Estimate:
    """Of the model that a plan makes.

    Attributes
    ----------
    bytes : int
        Of proto and model, within a few per cent.
    int8_share : float
        Of the multiplications, 0 to 1.
    seconds : float or None
        Of the whole run on this machine, by a few pictures that were timed; None: not known.
    timed : int
        How many these were.
    """

    bytes: int
    int8_share: float
    seconds: float | None = None
    timed: int = 0


def estimate(executor: Executor, plan: QuantPlan, before: int) -> Estimate:
    """Size and share in int8 of the model that a plan makes.

    Parameters
    ----------
    executor : Executor
        Of the fp32 model.
    plan : QuantPlan
    before : int
        Bytes of the fp32 model's files.
    """
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
            size += weight.size - weight.data.nbytes + channels * _PER_CHANNEL
    size += sum(_PER_SLOT * blob.slots for blob in plan.blobs.values())
    return Estimate(size, int8_macs / macs if macs else 0.0)
