"""How much there is to do in a run of the fp32 network, counted before it runs."""

from __future__ import annotations

from math import prod

from tnnquant.engine.executor import Executor

__all__ = ["work_after"]

#: Multiplications that a layer takes as long as beside its own: at any rate, and for each value that it makes.
_STEP, _OF_VALUE = 5e5, 40.0


def work_after(executor: Executor) -> list[float]:
    """What is left to do before each step: thousands of millions of multiplications that would take as long.

    Parameters
    ----------
    executor : Executor
        Of an fp32 graph.

    Returns
    -------
    list of float
        By the number of the step; the last one, 0, is that of the end.
    """
    specs, left = executor.specs, [0.0]
    for step in reversed(executor.steps):
        node = step.node
        inputs, outputs = ([specs[blob] for blob in blobs] for blobs in (node.inputs, node.outputs))
        macs = node.layer.macs(inputs, outputs) + _STEP + _OF_VALUE * sum(prod(spec.dims) for spec in outputs)
        left.append(left[-1] + macs / 1e9)
    return left[::-1]
