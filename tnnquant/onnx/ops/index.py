"""Elements by place: gathering, scattering, one-hot, non-maximum suppression, regions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tnnquant.onnx.builder import Builder, finite
from tnnquant.onnx.common import axis_of, binary, compare, constant_of, ints, select
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import FLOAT, Value


def _picked(g: Builder, x: Value, places: np.ndarray, dims: Sequence[int]) -> Value:
    """Elements of ``x`` by their flat numbers, under these dims."""
    flat = g.reshape(x, (x.size,))
    return g.reshape(g.gather(flat, places.reshape(-1), 0), dims)


@operator()
def GatherElements(g: Builder, x: Value, indices: Value, *, axis: int = 0) -> Value:
    axis = axis_of(axis, x.rank)
    grid = list(np.indices(indices.dims))
    if indices.is_constant:
        found = np.where(indices.elements < 0, indices.elements + x.dims[axis], indices.elements)
        grid[axis] = found
        return _picked(g, x, np.ravel_multi_index(grid, x.dims), indices.dims)
    # TNN gathers whole slices: elements by their flat numbers.
    stride = prod(x.dims[axis + 1 :])
    grid[axis] = np.zeros_like(grid[axis])
    offsets = np.ravel_multi_index(grid, x.dims).astype(np.int32)
    places = _plus_scaled(g, _wrapped(g, indices, x.dims[axis]), stride, offsets)
    return _by_number(g, x, places, indices.dims)


def _wrapped(g: Builder, indices: Value, size: int) -> Value:
    """Indices with negative ones counted from the end."""
    zero = g.constant(np.zeros((1,) * max(indices.rank, 1), np.int32))
    behind = binary(g, "Add", indices, g.constant(size, np.int32))
    return select(g, compare(g, "Less", indices, zero), behind, indices)


def _plus_scaled(g: Builder, indices: Value, factor: int, offsets: np.ndarray) -> Value:
    scaled = indices if factor == 1 else binary(g, "Mul", indices, g.constant(factor, np.int32))
    return binary(g, "Add", scaled, g.constant(offsets)) if offsets.any() else scaled


def _by_number(g: Builder, x: Value, places: Value, dims: Sequence[int]) -> Value:
    """Elements of ``x`` by their flat numbers in a blob."""
    flat = g.reshape(places, (places.size,))
    if x.is_constant:
        tensors = {"data": x.elements.reshape(-1)}
        made = g.add("Gather", [flat], 0, True, False, tensors=tensors, dtype=x.dtype)
    else:
        made = g.add("Gather", [g.reshape(x, (x.size,)), flat], 0, False, False, dtype=x.dtype)
    return g.reshape(made, dims)


@operator()
def GatherND(g: Builder, x: Value, indices: Value, *, batch_dims: int = 0) -> Value:
    depth = indices.dims[-1]
    inner = x.dims[batch_dims + depth :]
    if not indices.is_constant:
        return _gather_vectors(g, x, indices, batch_dims, inner)
    numbers = np.arange(x.size).reshape(x.dims)
    batch = np.indices(indices.dims[:-1])[:batch_dims]
    places = numbers[(*batch, *np.moveaxis(indices.elements, -1, 0))]
    return _picked(g, x, places, (*indices.dims[:-1], *inner))


def _gather_vectors(g: Builder, x: Value, indices: Value, batch_dims: int, inner: tuple[int, ...]) -> Value:
    depth = indices.dims[-1]
    sizes = x.dims[batch_dims : batch_dims + depth]
    strides = np.array([prod(sizes[k + 1 :]) for k in range(depth)], np.int32)
    flat = g.reshape(indices, (prod(indices.dims[:-1]), depth))
    behind = binary(g, "Add", flat, g.constant(np.array(sizes, np.int32)))
    zero = g.constant(np.zeros((1, 1), np.int32))
    flat = select(g, compare(g, "Less", flat, zero), behind, flat)
    rows = g.add("ReduceSum", [binary(g, "Mul", flat, g.constant(strides))], 0, (1,))
    # Rows of what each vector picks; those of a batch follow one another.
    each = prod(indices.dims[batch_dims:-1])
    batch = np.repeat(np.arange(prod(x.dims[:batch_dims]), dtype=np.int32), each) * prod(sizes)
    rows = binary(g, "Add", rows, g.constant(batch)) if batch.any() else rows
    table = g.reshape(x, (prod(x.dims[:batch_dims]) * prod(sizes), prod(inner)))
    if table.is_constant:
        made = g.add("Gather", [rows], 0, True, False, tensors={"data": table.elements}, dtype=x.dtype)
    else:
        made = g.add("Gather", [table, rows], 0, False, False, dtype=x.dtype)
    return g.reshape(made, (*indices.dims[:-1], *inner))


@operator()
def Scatter(g: Builder, x: Value, indices: Value, updates: Value, *, axis: int = 0) -> Value:
    return ScatterElements(g, x, indices, updates, axis=axis)


@operator()
def ScatterElements(
    g: Builder, x: Value, indices: Value, updates: Value, *, axis: int = 0, reduction: str = "none"
) -> Value:
    axis = axis_of(axis, x.rank)
    if reduction not in ("none", "add"):
        return _combined(g, x, indices, updates, axis, reduction)
    if indices.is_constant:
        found = indices.elements
        indices = g.constant(np.where(found < 0, found + x.dims[axis], found), np.int32)
    if not x.is_float:
        made = ScatterElements(g, g.cast(x, FLOAT), indices, g.cast(updates, FLOAT), axis=axis, reduction=reduction)
        return g.cast(made, x.dtype)
    return g.add("ScatterElements", [x, indices, updates], axis, int(reduction == "add"))


@operator()
def ScatterND(g: Builder, x: Value, indices: Value, updates: Value, *, reduction: str = "none") -> Value:
    if reduction == "add":
        return _scatter_add(g, x, indices, updates)
    if reduction != "none":
        flat_x, flat_updates = g.reshape(x, (x.size,)), g.reshape(updates, (updates.size,))
        places = _flat_places(g, x, indices, updates)
        return g.reshape(_combined(g, flat_x, places, flat_updates, 0, reduction), x.dims)
    if indices.is_constant:
        sizes = np.array(x.dims[: indices.dims[-1]])
        table = np.where(indices.elements < 0, indices.elements + sizes, indices.elements).astype(np.int32)
        return g.add("ScatterND", [x, updates], tensors={"indices": table}, dtype=x.dtype)
    return g.add("ScatterND", [x, indices, updates], dtype=x.dtype)


#: Most updates of a scatter that combines by other means than adding: each becomes layers.
_MOST_UPDATES = 64
_COMBINED = {"mul": "Mul", "max": "Maximum", "min": "Minimum"}


def _combined(g: Builder, x: Value, indices: Value, updates: Value, axis: int, reduction: str) -> Value:
    """One place along the axis after the other, with a mask of where it goes."""
    if reduction not in _COMBINED:
        raise Refused(f"it combines by {reduction!r}; TNN replaces or adds")
    steps = indices.dims[axis]
    others = [k for k in range(x.rank) if k != axis]
    if steps > _MOST_UPDATES or any(indices.dims[k] != x.dims[k] for k in others):
        raise Refused(f"it combines {steps} updates by {reduction!r}; TNN replaces or adds")
    size = x.dims[axis]
    numbers = g.constant(np.arange(size, dtype=np.int32).reshape([-1 if k == axis else 1 for k in range(x.rank)]))
    if not indices.is_constant:
        zero = g.constant(np.zeros((1,) * indices.rank, np.int32))
        wrapped = binary(g, "Add", indices, g.constant(size, np.int32))
        indices = select(g, compare(g, "Less", indices, zero), wrapped, indices)
    else:
        indices = g.constant(np.where(indices.elements < 0, indices.elements + size, indices.elements), np.int32)
    result = x
    for step in range(steps):
        mask = compare(g, "Equal", numbers, g.cut(indices, axis, step, step + 1))
        made = binary(g, _COMBINED[reduction], result, g.cut(updates, axis, step, step + 1))
        result = select(g, mask, made, result)
    return result


def _flat_places(g: Builder, x: Value, indices: Value, updates: Value) -> Value:
    """Where ScatterND puts each update, as a number of the flattened data."""
    depth = indices.dims[-1]
    inner = prod(x.dims[depth:])
    strides = np.array([prod(x.dims[k + 1 : depth]) for k in range(depth)], np.int32)
    if indices.is_constant:
        found = np.where(indices.elements < 0, indices.elements + np.array(x.dims[:depth]), indices.elements)
        rows = g.constant((found * strides).sum(-1).reshape(-1, 1) * inner, np.int32)
    else:
        flat = g.reshape(indices, (prod(indices.dims[:-1]), depth))
        rows = g.add("ReduceSum", [binary(g, "Mul", flat, g.constant(strides * inner))], 1, (1,))
    places = binary(g, "Add", rows, g.constant(np.arange(inner, dtype=np.int32).reshape(1, -1)))
    return g.reshape(places, (updates.size,))


def _scatter_add(g: Builder, x: Value, indices: Value, updates: Value) -> Value:
    """By flat numbers, which ScatterElements takes."""
    places = _flat_places(g, x, indices, updates)
    flat_x, flat_updates = g.reshape(x, (x.size,)), g.reshape(updates, (updates.size,))
    return g.reshape(ScatterElements(g, flat_x, places, flat_updates, axis=0, reduction="add"), x.dims)


def _printed_up(value: float) -> float:
    """The next number, not below this one, that the six digits of a .tnnproto hold: what equals a limit stays so."""
    printed = float(f"{value:g}")
    if printed >= value or not value:
        return printed
    step = 10.0 ** (np.floor(np.log10(abs(value))) - 5)
    return float(f"{value + step:g}")


@operator()
def OneHot(g: Builder, indices: Value, depth_input: Value, values_input: Value, *, axis: int = -1) -> Value:
    depth = int(constant_of(depth_input, "depth").reshape(-1)[0])
    off, on = (float(v) for v in constant_of(values_input, "values").reshape(-1))
    rank = indices.rank + 1
    axis = axis_of(axis, rank)
    places = g.cast(indices, np.int32) if indices.is_float else indices
    # TNN takes the type of the output from a third input, and the values from the parameters.
    operands = [places, g.constant([depth], np.int32), g.constant([off, on], np.float32)]
    made = g.add("OneHot", operands, axis, depth, off, on)
    return made if values_input.is_float else g.cast(made, values_input.dtype)


@operator()
def Compress(g: Builder, x: Value, condition: Value, *, axis: int | None = None) -> Value:
    places = np.flatnonzero(constant_of(condition, "conditions").reshape(-1))
    if not places.size:
        raise Refused("it keeps nothing; TNN has no empty tensors")
    if axis is None:
        return g.gather(g.reshape(x, (x.size,)), places, 0)
    return g.gather(x, places, axis_of(axis, x.rank))


@operator()
def ReverseSequence(g: Builder, x: Value, lengths: Value, *, batch_axis: int = 1, time_axis: int = 0) -> Value:
    numbers = np.moveaxis(np.arange(x.size).reshape(x.dims), (batch_axis, time_axis), (0, 1)).copy()
    for row, length in zip(numbers, ints(lengths, "lengths"), strict=True):
        row[:length] = row[:length][::-1].copy()
    return _picked(g, x, np.moveaxis(numbers, (0, 1), (batch_axis, time_axis)), x.dims)


@operator()
def NonZero(g: Builder, x: Value) -> Value:
    raise Refused("how many places it makes depends on the data; TNN's shapes are fixed. Cut the model before it")


@operator()
def NonMaxSuppression(
    g: Builder, boxes: Value, scores: Value, most: Value | None = None, iou: Value | None = None,
    score: Value | None = None, *, center_point_box: int = 0,
) -> Value:  # fmt: skip
    count = ints(most, "numbers of boxes")[0] if most is not None else 0
    if not count:
        raise Refused("it keeps no box at all (max_output_boxes_per_class is 0)")
    overlap = 0.0 if iou is None else float(constant_of(iou, "thresholds").reshape(-1)[0])
    least = finite(-np.inf) if score is None else float(constant_of(score, "thresholds").reshape(-1)[0])
    if boxes.rank == 3:
        count = min(count, boxes.dims[1])
    limits = _printed_up(overlap), _printed_up(least)
    return g.add("NonMaxSuppression", [boxes, scores], center_point_box, count, *limits, dtype=np.int64)


@operator()
def RoiAlign(
    g: Builder, x: Value, rois: Value, batches: Value, *, coordinate_transformation_mode: str | None = None,
    mode: str = "avg", output_height: int = 1, output_width: int = 1, sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Value:  # fmt: skip
    half = coordinate_transformation_mode or ("half_pixel" if g.opset >= 16 else "output_half_pixel")
    if half == "half_pixel":
        # Half a pixel less after the scaling is a shift of the regions before it.
        rois = binary(g, "Sub", rois, g.constant(0.5 / spatial_scale, np.float32))
    return g.add(
        "RoiAlign", [x, rois, batches], int(mode == "avg"), output_height, output_width, sampling_ratio, spatial_scale
    )

