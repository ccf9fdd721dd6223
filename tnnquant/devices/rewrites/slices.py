"""Picking and replacing by stored indices: by slices that are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.devices.rewrites.fragment import Fragment, rewrite
from tnnquant.layers.gather import Gather, stored_array, wrapped
from tnnquant.layers.slice import StridedSlice

__all__: list[str] = []

#: More pieces are not joined.
_MOST_PIECES = 128


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Indices as runs of neighbours: (first, after the last)."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


@rewrite("StridedSliceV2 and Concat", "Gather")
def _sliced(f: Fragment) -> str | None:
    layer, tensors = f.layer.expect(Gather), f.node.tensors
    if layer.data_in_resource or not f.inputs or f.inputs[0].value is not None:
        return None
    indices = stored_array(tensors["indices"]) if layer.indices_in_resource else f.value(len(f.inputs) - 1)
    dims = f.inputs[0].dims
    if indices is None or f.inputs[0].dtype != DataType.FLOAT or not indices.size or len(dims) < 2:
        return None
    runs = _runs(wrapped(np.asarray(indices).reshape(-1), dims[layer.axis]).tolist())
    if len(runs) > _MOST_PIECES:
        return None
    blob = f.node.inputs[0]
    if runs == [(0, dims[layer.axis])]:
        x = blob
    else:
        pieces = [f.slice(blob, layer.axis, begin, end) for begin, end in runs]
        x = pieces[0] if len(pieces) == 1 else f.add("Concat", pieces, layer.axis)
    picked = (*dims[: layer.axis], indices.size, *dims[layer.axis + 1 :])
    after = f.outputs[0].dims
    return x if picked == after else f.reshape(x, after, picked)


@rewrite("1x1 convolution", "Gather")
def _by_convolution(f: Fragment) -> str | None:
    layer, tensors, dims = f.layer.expect(Gather), f.node.tensors, f.inputs[0].dims if f.inputs else ()
    if layer.data_in_resource or not layer.indices_in_resource or len(dims) != 4 or layer.axis != 1:
        return None
    indices = wrapped(stored_array(tensors["indices"]), dims[1])
    if indices.ndim != 1 or f.inputs[0].dtype != DataType.FLOAT:
        return None
    weight = np.zeros((indices.size, dims[1], 1, 1), np.float32)
    weight[np.arange(indices.size), indices] = 1
    return f.add(
        "Convolution", f.node.inputs[0], tensors={"filter": weight}, group=1, input_channel=dims[1],
        output_channel=indices.size, kernel_h=1, kernel_w=1, stride_h=1, stride_w=1, pad_type=-1,
    )  # fmt: skip


@rewrite("the indices as positive numbers in the layer", "Gather")
def _stored_indices(f: Fragment) -> str | None:
    layer, tensors = f.layer.expect(Gather), f.node.tensors
    if f.place.net.mixed:
        return None
    indices = stored_array(tensors["indices"]) if layer.indices_in_resource else f.value(len(f.inputs) - 1)
    if indices is None or (not layer.data_in_resource and f.inputs[0].value is not None):
        return None
    data = stored_array(tensors["data"]) if layer.data_in_resource else None
    size = (data.shape if data is not None else f.inputs[0].dims)[layer.axis]
    positive = wrapped(np.asarray(indices), size).astype(np.int32)
    x = f.keep(f.node.inputs[:1] if data is None else (), indices_in_resource=True)
    kept = f.nodes[-1]
    if kept.resource is None:
        return None
    stored = {**kept.resource.tensors, "indices": Tensor.from_array(positive)}
    extras = {**kept.resource.extras, "has_indices": True}
    f.nodes[-1] = kept.replace(resource=replace(kept.resource, tensors=stored, extras=extras))
    return x


@rewrite("StridedSliceV2 and Concat", "ScatterND")
def _rows(f: Fragment) -> str | None:
    tensors, dims = f.node.tensors, f.inputs[0].dims
    indices = stored_array(tensors["indices"]) if "indices" in tensors else f.value(1)
    if indices is None or indices.ndim < 1 or indices.shape[-1] != 1 or len(dims) < 2:
        return None
    if f.inputs[0].dtype != DataType.FLOAT:
        return None
    rows = wrapped(np.asarray(indices).reshape(-1), dims[0]).tolist()
    from_updates = {row: number for number, row in enumerate(rows)}  # the last of equal rows wins
    if 2 * len(from_updates) + 1 > _MOST_PIECES:
        return None
    updates = stored_array(tensors["updates"]) if "updates" in tensors else f.inputs[-1].value
    shape = (len(rows), *dims[1:])
    if updates is not None:
        source: str | np.ndarray = np.asarray(updates, np.float32).reshape(shape)
    else:
        source = f.reshape(f.node.inputs[-1], shape)
    data = f.value(0)
    origin: str | np.ndarray = f.node.inputs[0] if data is None else data
    pieces, row = [], 0
    while row < dims[0]:
        end = row + 1
        if row in from_updates:
            pieces.append(_piece(f, source, from_updates[row], from_updates[row] + 1))
        else:
            while end < dims[0] and end not in from_updates:
                end += 1
            pieces.append(_piece(f, origin, row, end))
        row = end
    return pieces[0] if len(pieces) == 1 else f.add("Concat", pieces, 0)


def _piece(f: Fragment, source: str | np.ndarray, begin: int, end: int) -> str:
    if isinstance(source, str):
        return f.slice(source, 0, begin, end)
    return f.constant(source[begin:end])


@rewrite("indices counted from the front", "StridedSlice")
def _from_the_front(f: Fragment) -> str | None:
    if len(f.node.inputs) > 1:
        return None
    layer, dims = f.layer.expect(StridedSlice), f.inputs[0].dims
    begins = tuple(begin + size if begin < 0 else begin for begin, size in zip(layer.begins, dims, strict=True))
    ends = tuple(end + size if end <= 0 else end for end, size in zip(layer.ends, dims, strict=True))
    return f.keep(f.node.inputs, begins=begins, ends=ends)
