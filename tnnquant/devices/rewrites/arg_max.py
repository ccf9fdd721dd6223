"""ArgMaxOrMin of maps: over the first axis of a matrix, whose order in memory every device knows."""

from __future__ import annotations

from math import prod

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.devices.memory import LANES
from tnnquant.devices.rewrites.fragment import Fragment, rewrite
from tnnquant.layers.topk import ArgMaxOrMin

__all__: list[str] = []

#: An index beyond is no float32 number of its own; and so many filler values are not written into a model.
_MOST_PLACES = 1 << 20


@rewrite("ArgMaxOrMin over the first axis of a matrix", "ArgMaxOrMin")
def _of_a_matrix(f: Fragment) -> str | None:
    """The int32 result passes through float32, because the devices reshape no integers."""
    dims, after, rank = f.inputs[0].dims, f.outputs[0].dims, len(f.inputs[0].dims)
    if f.inputs[0].dtype != DataType.FLOAT or not after or 0 in dims or f.inputs[0].value is not None:
        return None
    axis = f.layer.expect(ArgMaxOrMin).axis % rank
    count, places = dims[axis], prod(dims) // dims[axis]
    if count > _MOST_PLACES:
        return None
    x = f.node.inputs[0]
    if axis:
        x = f.add("Permute", x, (axis, *(other for other in range(rank) if other != axis)))
    x = f.reshape(x, (count, places))
    missing = -places % LANES
    if missing:
        x = f.add("Concat", (x, f.constant(np.zeros((count, missing), np.float32))), 1)
    x = f.add("Cast", f.keep((x,), axis=0, keep_dims=1), int(DataType.FLOAT))
    if missing:
        x = f.slice(x, 1, 0, places)
    return f.add("Cast", f.reshape(x, after), int(DataType.INT32))
