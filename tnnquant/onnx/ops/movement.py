"""The same elements in other places, or under other dims."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import numpy as np

from tnnquant.onnx.builder import Builder
from tnnquant.onnx.common import axis_of, broadcast_dims, constant_of, expanded, ints
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import FLOAT, Value


@operator()
def Concat(g: Builder, *values: Value, axis: int = 1) -> Value:
    axis = axis_of(axis, values[0].rank)
    values = tuple(value for value in values if value.size)
    if len(values) == 1:
        return values[0]
    if not values:
        raise Refused("all it joins is empty; TNN has no empty tensors")
    return g.add("Concat", values, axis)


@operator()
def Split(
    g: Builder, x: Value, sizes: Value | None = None, *, axis: int = 0, split: Sequence[int] | None = None,
    num_outputs: int | None = None,
) -> list[Value]:  # fmt: skip
    axis = axis_of(axis, x.rank)
    found = ints(sizes, "sizes") if sizes is not None else None if split is None else list(split)
    if found is None:
        count = num_outputs or g.outputs
        part = -(-x.dims[axis] // count)
        found = [part] * (count - 1) + [x.dims[axis] - part * (count - 1)]
    if sum(found) != x.dims[axis] or min(found) < 0:
        raise Refused(f"its sizes {found} do not add up to an axis of {x.dims[axis]}")
    kept = [size for size in found if size]
    pieces = [x] if len(kept) == 1 else g.add_many("SplitV", [x], axis, tuple(kept), outputs=len(kept))
    empty = g.constant(np.zeros((*x.dims[:axis], 0, *x.dims[axis + 1 :]), x.dtype))
    rest = iter(pieces)
    return [next(rest) if size else empty for size in found]


@operator()
def Reshape(
    g: Builder, x: Value, shape_input: Value | None = None, *, allowzero: int = 0, shape: Sequence[int] | None = None
) -> Value:
    dims = ints(shape_input, "dims") if shape_input is not None else None if shape is None else list(shape)
    if dims is None:
        raise Refused("it has no shape")
    if not allowzero:
        dims = [x.dims[k] if d == 0 and k < x.rank else d for k, d in enumerate(dims)]
    if dims.count(-1) == 1:
        known = prod(d for d in dims if d != -1)
        dims[dims.index(-1)] = x.size // known if known else 0
    if any(d < 0 for d in dims) or prod(dims) != x.size:
        raise Refused(f"it reshapes {'x'.join(map(str, x.dims))} to {'x'.join(map(str, dims))}: the sizes differ")
    return g.reshape(x, dims)


@operator()
def Flatten(g: Builder, x: Value, *, axis: int = 1) -> Value:
    axis = axis + x.rank if axis < 0 else axis
    return g.reshape(x, (prod(x.dims[:axis]), prod(x.dims[axis:])))


@operator()
def Transpose(g: Builder, x: Value, *, perm: Sequence[int] | None = None) -> Value:
    return g.permute(x, perm or tuple(reversed(range(x.rank))))


def _axes(value: Value | None, attribute: Sequence[int] | None) -> list[int] | None:
    return ints(value, "axes") if value is not None else None if attribute is None else list(attribute)


@operator()
def Squeeze(g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None) -> Value:
    found = _axes(axes_input, axes)
    wanted = {k for k, d in enumerate(x.dims) if d == 1} if found is None else {axis_of(a, x.rank) for a in found}
    if any(x.dims[axis] != 1 for axis in wanted):
        raise Refused(f"it removes axes {sorted(wanted)} of {'x'.join(map(str, x.dims))}, which are not all 1")
    return g.reshape(x, [d for k, d in enumerate(x.dims) if k not in wanted])


@operator()
def Unsqueeze(g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None) -> Value:
    found = _axes(axes_input, axes) or []
    rank = x.rank + len(found)
    wanted = {axis_of(axis, rank) for axis in found}
    rest = iter(x.dims)
    return g.reshape(x, [1 if k in wanted else next(rest) for k in range(rank)])


@operator()
def Expand(g: Builder, x: Value, shape: Value) -> Value:
    dims = ints(shape, "dims")
    return expanded(g, x, broadcast_dims(x, Value(tuple(dims), FLOAT)))


@operator()
def Tile(g: Builder, x: Value, repeats: Value) -> Value:
    reps = ints(repeats, "repeats")
    return x if set(reps) <= {1} else g.add("Tile", [x], tuple(reps))


@operator()
def Gather(g: Builder, x: Value, indices: Value, *, axis: int = 0) -> Value:
    axis = axis_of(axis, x.rank)
    if indices.is_constant:
        places = np.where(indices.elements < 0, indices.elements + x.dims[axis], indices.elements)
        if places.size and not (places.min() >= 0 and places.max() < x.dims[axis]):
            raise Refused(f"its indices reach beyond an axis of {x.dims[axis]}")
        return g.gather(x, places, axis)
    if indices.dtype.kind == "f":
        raise Refused("its indices are floats")
    if x.is_constant:
        return g.add("Gather", [indices], axis, True, False, tensors={"data": x.elements}, dtype=x.dtype)
    return g.add("Gather", [x, indices], axis, False, False, dtype=x.dtype)


def _sliced(
    g: Builder, x: Value, begins: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]
) -> Value:
    for begin, end, axis, step in zip(begins, ends, axes, steps, strict=True):
        axis = axis_of(axis, x.rank)
        places = range(*slice(begin, end, step).indices(x.dims[axis]))
        # ONNX clamps as NumPy does, but for ends below -size when going backwards.
        if not len(places):
            return g.constant(np.zeros((*x.dims[:axis], 0, *x.dims[axis + 1 :]), x.dtype))
        # TNN cannot go backwards to the first index.
        forwards = step > 0
        x = g.cut(x, axis, places[0], places[-1] + 1, step) if forwards else g.gather(x, np.array(places), axis)
    return x


@operator()
def Slice(
    g: Builder, x: Value, starts_input: Value | None = None, ends_input: Value | None = None,
    axes_input: Value | None = None, steps_input: Value | None = None, *, starts: Sequence[int] | None = None,
    ends: Sequence[int] | None = None, axes: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    begins = ints(starts_input, "starts") if starts_input is not None else starts
    stops = ints(ends_input, "ends") if ends_input is not None else ends
    if begins is None or stops is None:
        raise Refused("it does not say where its slices begin and end")
    where = _axes(axes_input, axes) or list(range(len(begins)))
    steps = ints(steps_input, "steps") or [1] * len(begins)
    return _sliced(g, x, begins, stops, where, steps)


@operator()
def Pad(
    g: Builder, x: Value, pads_input: Value | None = None, value_input: Value | None = None,
    axes_input: Value | None = None, *, mode: str = "constant", pads: Sequence[int] | None = None, value: float = 0.0,
    paddings: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    found = ints(pads_input, "sizes") if pads_input is not None else list(pads or paddings or ())
    where = [axis_of(a, x.rank) for a in _axes(axes_input, None) or range(x.rank)]
    if len(found) != 2 * len(where):
        raise Refused(f"it has {len(found)} sizes for {len(where)} axes, expected two per axis")
    filling = constant_of(value_input, "filling")
    number = value if filling is None or not filling.size else filling.reshape(-1)[0]
    borders = [(0, 0)] * x.rank
    for k, axis in enumerate(where):
        borders[axis] = (found[k], found[k + len(where)])
    return padded(g, x, borders, mode, number)


_BORDERS: dict[str, Literal["reflect", "edge", "wrap"]] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def padded(g: Builder, x: Value, borders: Sequence[tuple[int, int]], mode: str, number: float) -> Value:
    """``x`` with a border; negative ones cut."""
    if mode != "constant":
        if mode not in _BORDERS:
            raise Refused(f"its mode {mode!r} is unknown")
        # By index: TNN's own reflection and edges differ between its layers.
        for axis, (begin, end) in enumerate(borders):
            if begin or end:
                numbers = np.arange(x.dims[axis])
                numbers = numbers[max(-begin, 0) : len(numbers) - max(-end, 0)]
                x = g.gather(x, np.pad(numbers, (max(begin, 0), max(end, 0)), _BORDERS[mode]), axis)
        return x
    for axis, (begin, end) in enumerate(borders):
        x = g.cut(x, axis, max(-begin, 0), x.dims[axis] - max(-end, 0))
    pads = (*(max(b, 0) for b, _ in borders), *(max(e, 0) for _, e in borders))
    if not any(pads):
        return x
    if x.is_float or number == 0:
        return g.pad(x, pads, max(min(float(number), 3.4028234663852886e38), -3.4028234663852886e38))
    # TNN takes the bits of its float filling for integers.
    return g.cast(g.pad(g.cast(x, FLOAT), pads, float(number)), x.dtype)


@operator()
def Cast(g: Builder, x: Value, *, to: int | str, saturate: int = 1, round_mode: str = "up") -> Value:
    from onnx import TensorProto

    from tnnquant.onnx.read import element_type

    if isinstance(to, str):
        to = int(TensorProto.DataType.Value(to))
    if to == TensorProto.STRING:
        raise Refused("it makes strings; TNN has none")
    return g.cast(x, element_type(to, "its result"))


@operator()
def CastLike(g: Builder, x: Value, like: Value, *, saturate: int = 1, round_mode: str = "up") -> Value:
    return g.cast(x, FLOAT if like.is_float else like.dtype)


@operator()
def Shape(g: Builder, x: Value, *, start: int = 0, end: int | None = None) -> Value:
    return g.constant(x.dims[start:end], np.int64)


@operator()
def Size(g: Builder, x: Value) -> Value:
    return g.constant(x.size, np.int64)


@operator()
def DepthToSpace(g: Builder, x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    return g.add("Reorg", [x], blocksize, True, 0, int(mode == "CRD"))


@operator()
def SpaceToDepth(g: Builder, x: Value, *, blocksize: int) -> Value:
    return g.add("Reorg", [x], blocksize, False, 0, 0)
