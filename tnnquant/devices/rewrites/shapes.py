"""Squeeze, Unsqueeze, Expand, Tile, blobs of one dim: by Reshape, Mul, Concat."""

from __future__ import annotations

from math import prod

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.devices.rewrites.fragment import Fragment, rewrite
from tnnquant.layers.softmax import Softmax

__all__: list[str] = []

#: Constants of more values are not written into a model.
_MOST_VALUES = 1 << 20
#: A blob is not joined with itself more often.
_MOST_COPIES = 256


@rewrite("Reshape", "Squeeze", "Unsqueeze")
def _reshaped(f: Fragment) -> str | None:
    if f.inputs[0].dtype != DataType.FLOAT:
        return None
    return f.reshape(f.node.inputs[0], f.outputs[0].dims, f.inputs[0].dims)


@rewrite("Mul by ones", "Expand")
def _times_ones(f: Fragment) -> str | None:
    before, after = f.inputs[0].dims, f.outputs[0].dims
    if f.inputs[0].dtype != DataType.FLOAT or prod(after) > _MOST_VALUES or len(before) > len(after):
        return None
    x = f.node.inputs[0]
    if len(before) < len(after):
        x = f.reshape(x, (*(1,) * (len(after) - len(before)), *before))
    return f.add("Mul", (x, f.constant(np.ones(after, np.float32))), -1)


@rewrite("Concat", "Tile")
def _joined(f: Fragment) -> str | None:
    dims, after = f.inputs[0].dims, f.outputs[0].dims
    if f.inputs[0].dtype != DataType.FLOAT or 0 in dims:
        return None
    x = f.node.inputs[0]
    if len(dims) < len(after):
        dims = (*(1,) * (len(after) - len(dims)), *dims)
        x = f.reshape(x, dims)
    is_flat = len(dims) == 1
    if is_flat:
        dims, after = (1, *dims), (1, *after)
        x = f.reshape(x, dims)
    for axis, (one, all_of_it) in enumerate(zip(dims, after, strict=True)):
        if all_of_it // one > _MOST_COPIES:
            return None
        if all_of_it > one:
            x = f.add("Concat", (x,) * (all_of_it // one), axis)
    return f.reshape(x, after[1:]) if is_flat else x


@rewrite("two dims", "ReLU", "Sign", "HardSwish", "Softmax")
def _two_dims(f: Fragment) -> str | None:
    if len(f.node.inputs) > 1 or len(f.inputs[0].dims) != 1:
        return None
    count = f.inputs[0].dims[0]
    changes = {"axis": 1} if f.place.kind == "Softmax" else {}
    return f.reshape(f.keep((f.reshape(f.node.inputs[0], (1, count)),), **changes), (count,))


@rewrite("a Reshape between", "ReLU", "ReLU6", "Swish")
def _apart(f: Fragment) -> str | None:
    """Where TNN would fuse the layer into a convolution whose own output is asked for."""
    dims = f.inputs[0].dims
    return f.keep((f.reshape(f.node.inputs[0], dims, dims),))


@rewrite("Concat of two dims", "Concat")
def _concat_of_vectors(f: Fragment) -> str | None:
    if any(len(spec.dims) != 1 for spec in f.inputs) or f.inputs[0].dtype != DataType.FLOAT:
        return None
    pairs = zip(f.node.inputs, f.inputs, strict=True)
    rows = [
        f.reshape(blob, (1, *spec.dims)) if spec.value is None else f.constant(spec.value[None]) for blob, spec in pairs
    ]
    return f.reshape(f.add("Concat", rows, 1), f.outputs[0].dims)


@rewrite("Permute, Softmax, Permute", "Softmax")
def _softmax_of_first_axis(f: Fragment) -> str | None:
    rank = len(f.inputs[0].dims)
    if rank < 2 or f.layer.expect(Softmax).axis % rank:
        return None
    order = (1, 0, *range(2, rank))
    return f.add("Permute", f.add("Softmax", f.add("Permute", f.node.inputs[0], order), 1), order)
