"""Picking by indices that are computed at run time: by comparisons and a matrix product."""

from __future__ import annotations

from math import prod

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.devices.rewrites.fragment import Fragment, rewrite
from tnnquant.layers.gather import Gather, stored_array

__all__: list[str] = []

#: Each index is compared with every place of the axis: a longer one would cost too much.
_LONGEST = 1024


@rewrite("comparisons with every place, and a matrix product", "Gather")
def _looked_up(f: Fragment) -> str | None:
    layer = f.layer.expect(Gather)
    if layer.indices_in_resource or not f.inputs or f.inputs[-1].value is not None:
        return None
    indices, stored = f.inputs[-1], None
    if layer.data_in_resource:
        stored = stored_array(f.node.tensors["data"])
    elif len(f.inputs) > 1 and f.inputs[0].value is not None:
        stored = f.inputs[0].value
    dims = f.inputs[0].dims if stored is None else stored.shape
    is_float = f.inputs[0].dtype == DataType.FLOAT if stored is None else stored.dtype == np.float32
    size, rank = dims[layer.axis], len(dims)
    if not is_float or indices.dtype != DataType.INT32 or not indices.dims or not 0 < size <= _LONGEST:
        return None
    front = (layer.axis, *(axis for axis in range(rank) if axis != layer.axis))
    rest = tuple(dims[axis] for axis in front[1:])
    chosen = _one_hot(f, f.node.inputs[-1], indices.dims, size)
    if stored is not None:
        table = stored.transpose(front).reshape(size, prod(rest))
        weight = np.ascontiguousarray(table.T)
        picked = _inner_product(f, chosen, weight, np.zeros(len(weight), np.float32))
    else:
        rows = f.node.inputs[0] if front == tuple(range(rank)) else f.add("Permute", f.node.inputs[0], front)
        if rank != 2:
            rows = f.reshape(rows, (size, prod(rest)))
        picked = f.add("MatMul", (chosen, rows), -1)
    count, made = len(indices.dims), (*indices.dims, *rest)
    if len(made) != 2:
        picked = f.reshape(picked, made)
    if not layer.axis:
        return picked
    # The axes of the indices go where the axis was.
    before = range(count, count + layer.axis)
    order = (*before, *range(count), *range(count + layer.axis, len(made)))
    return f.add("Permute", picked, order)


def _one_hot(f: Fragment, indices: str, dims: tuple[int, ...], size: int) -> str:
    """1 where a column is the place that the index of a row names, counted from the end if it is negative; else 0."""
    places = f.add("Reshape", f.add("Cast", indices, int(DataType.FLOAT)), 0, 2, (prod(dims), 1), 0)
    is_negative = f.add("Clip", f.add("Power", places, 1.0, -1.0, 0.0), 0.0, 1.0)
    places = f.add("Add", (places, f.add("Power", is_negative, 1.0, float(size), 0.0)), -1)
    away = _inner_product(f, places, np.ones((size, 1), np.float32), -np.arange(size, dtype=np.float32))
    return f.add("ReLU", f.add("Power", f.add("Abs", away), 1.0, -1.0, 1.0))


def _inner_product(f: Fragment, rows: str, weight: np.ndarray, bias: np.ndarray) -> str:
    tensors = {"weight": weight, "bias": bias}
    return f.add("InnerProduct", rows, tensors=tensors, num_output=len(weight), has_bias=1, transpose=0, axis=1)
