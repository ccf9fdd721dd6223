"""fp32 steps that run as one: a convolution, the Add after it, and an activation after either.

Only where nobody is shown the blobs between them. The results have the same bits: every step of the arithmetic rounds
to float32 whether it goes through memory or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from tnnquant.engine.steps import Step
from tnnquant.layers.base import BlobSpec

__all__ = ["fused"]


def fused(steps: Sequence[Step], specs: Mapping[str, BlobSpec], kept: Collection[str]) -> list[Step]:
    """The steps, neighbours in one where their layers can (:meth:`~tnnquant.layers.base.Layer.absorbed`).

    Parameters
    ----------
    steps : sequence of Step
        In execution order; they stay as they are.
    specs : mapping of str to BlobSpec
    kept : collection of str
        Blobs that must be made: the model's outputs, and those that are not made by a step.
    """
    readers = Counter(blob for step in steps for blob in step.node.inputs)
    result: list[Step] = []
    made: dict[str, int] = {}
    for step in steps:
        at, merged = _merged(step, result, made, specs, lambda blob: readers[blob] == 1 and blob not in kept)
        if merged is None:
            at = len(result)
            result.append(step.twin())
        else:
            result[at] = merged
        made.update(dict.fromkeys(step.node.outputs, at))
    return result


def _merged(
    step: Step, result: Sequence[Step], made: Mapping[str, int], specs: Mapping[str, BlobSpec],
    is_private: Callable[[str], bool],
) -> tuple[int, Step | None]:  # fmt: skip
    """The place of an earlier step and what it becomes with this one, or None."""
    node = step.node
    if node.quantized or step.state is not None or len(node.outputs) != 1 or len(node.inputs) > 2:
        return 0, None
    # The later of two operands: the other one is there by then.
    for blob in sorted(set(node.inputs), key=lambda name: -made.get(name, -1)):
        at = made.get(blob, -1)
        others = tuple(other for other in node.inputs if other != blob)
        if at < 0 or not is_private(blob) or len(others) != len(node.inputs) - 1:
            continue
        dims = {specs[name].dims for name in (blob, *others, *node.outputs)}
        if len(dims) > 1 or len(specs[blob].dims) != 4 or any(made.get(other, at) >= at for other in others):
            continue
        host = result[at]
        if host.node.quantized or len(host.node.outputs) != 1:
            continue
        layer = host.node.layer.absorbed(node.layer, host.state)
        if layer is not None:
            both = host.node.replace(layer=layer, inputs=host.node.inputs + others, outputs=node.outputs)
            return at, Step(both, both.half, step.outputs, host.state)
    return 0, None
