"""Reductions, extremes and running sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tnnquant.onnx.builder import Builder
from tnnquant.onnx.common import axis_of, binary, in_float, ints
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import FLOAT, Value


def _reduced(
    g: Builder, kind: str, x: Value, axes_input: Value | None, axes: Sequence[int] | None, keepdims: int, noop: int
) -> Value:
    found = ints(axes_input, "axes") if axes_input is not None else list(axes or ())
    if not found and noop:
        return _pointwise(g, kind, x)
    where = tuple(sorted({axis_of(axis, x.rank) for axis in found})) or tuple(range(x.rank))
    if not where:
        return _pointwise(g, kind, x)
    narrow = x.dtype
    if x.dtype.kind in "bu" or x.dtype == np.int8:
        x = g.cast(x, np.int32)
    exact = kind in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceSumSquare")
    if not x.is_float and not exact:
        return g.cast(g.add(kind, [g.cast(x, FLOAT)], keepdims, where), narrow)
    made = g.add(kind, [x], keepdims, where)
    return made if x.dtype == narrow else g.cast(made, narrow)


def _pointwise(g: Builder, kind: str, x: Value) -> Value:
    """A reduction over no axes."""
    if kind in ("ReduceL1", "ReduceL2"):
        from tnnquant.onnx.ops.functions import Abs

        return Abs(g, x)
    if kind == "ReduceSumSquare":
        return g.add("Mul", [x, x], -1)
    return g.add("Log", [in_float(g, x)]) if kind == "ReduceLogSum" else x


@operator()
def ReduceMean(
    g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduced(g, "ReduceMean", x, axes_input, axes, keepdims, noop_with_empty_axes)


@operator()
def ReduceSum(
    g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduced(g, "ReduceSum", x, axes_input, axes, keepdims, noop_with_empty_axes)


@operator()
def ReduceMax(
    g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduced(g, "ReduceMax", x, axes_input, axes, keepdims, noop_with_empty_axes)


@operator()
def ReduceMin(
    g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduced(g, "ReduceMin", x, axes_input, axes, keepdims, noop_with_empty_axes)


@operator()
def ReduceProd(
    g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduced(g, "ReduceProd", x, axes_input, axes, keepdims, noop_with_empty_axes)


@operator()
def ReduceL1(
    g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduced(g, "ReduceL1", x, axes_input, axes, keepdims, noop_with_empty_axes)


@operator()
def ReduceL2(
    g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduced(g, "ReduceL2", x, axes_input, axes, keepdims, noop_with_empty_axes)


@operator()
def ReduceSumSquare(
    g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduced(g, "ReduceSumSquare", x, axes_input, axes, keepdims, noop_with_empty_axes)


@operator()
def ReduceLogSum(
    g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduced(g, "ReduceLogSum", x, axes_input, axes, keepdims, noop_with_empty_axes)


@operator()
def ReduceLogSumExp(
    g: Builder, x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduced(g, "ReduceLogSumExp", x, axes_input, axes, keepdims, noop_with_empty_axes)


def _extreme_place(g: Builder, mode: int, x: Value, axis: int, keepdims: int, last: int) -> Value:
    axis = axis_of(axis, x.rank)
    size = x.dims[axis]
    if not last:
        return g.add("ArgMaxOrMin", [x], mode, axis, keepdims, 0, dtype=np.int64)
    # The last of several: the first counted from the end.
    turned = g.gather(x, np.arange(size)[::-1], axis)
    place = g.add("ArgMaxOrMin", [turned], mode, axis, keepdims, 0, dtype=np.int64)
    return binary(g, "Sub", g.constant(size - 1, np.int64), place)


@operator()
def ArgMax(g: Builder, x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    return _extreme_place(g, 1, x, axis, keepdims, select_last_index)


@operator()
def ArgMin(g: Builder, x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    return _extreme_place(g, 0, x, axis, keepdims, select_last_index)


@operator()
def TopK(
    g: Builder, x: Value, k_input: Value | None = None, *, axis: int = -1, k: int | None = None, largest: int = 1,
    sorted: int = 1,
) -> tuple[Value, Value]:  # fmt: skip
    count = ints(k_input, "numbers of elements")[0] if k_input is not None else k
    # Sorted in any case: ONNX leaves the order open otherwise.
    values, places = g.add_many("TopK", [x], axis_of(axis, x.rank), largest, 1, count, outputs=2)
    return values, Value(places.dims, np.dtype(np.int64), places.name)


@operator()
def CumSum(g: Builder, x: Value, axis_input: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    return _running(g, x, axis_of(ints(axis_input, "axis")[0], x.rank), exclusive, reverse)


def _running(g: Builder, x: Value, axis: int, exclusive: int, reverse: int) -> Value:
    """Running sums, as a product with a triangle of ones."""
    if not x.is_float:
        return g.cast(_running(g, g.cast(x, FLOAT), axis, exclusive, reverse), x.dtype)
    size = x.dims[axis]
    triangle = np.triu(np.ones((size, size), np.float32), 1 if exclusive else 0)
    triangle = triangle.T if reverse else triangle
    return along(g, x, axis, np.ascontiguousarray(triangle.T))


def along(g: Builder, x: Value, axis: int, matrix: np.ndarray) -> Value:
    """``out[.., i, ..] = sum_j matrix[i, j] x[.., j, ..]`` along an axis; ``matrix`` float32 (out, in)."""
    if x.rank > 1 and axis == x.rank - 2:
        return g.add("MatMul", [x], 0, tensors={"weight": np.ascontiguousarray(matrix)})
    order = [k for k in range(x.rank) if k != axis] + [axis]
    moved = g.permute(x, order)
    if moved.rank == 1:
        moved = g.reshape(moved, (1, moved.dims[0]))
    made = g.add("MatMul", [moved], 1, tensors={"weight": np.ascontiguousarray(matrix.T)})
    made = g.reshape(made, (*(x.dims[k] for k in order[:-1]), len(matrix)))
    return g.permute(made, [order.index(k) for k in range(x.rank)])


@operator()
def Trilu(g: Builder, x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    from tnnquant.onnx.common import select

    shift = ints(k, "diagonal")[0] if k is not None else 0
    ones = np.ones(x.dims[-2:], bool)
    mask = np.triu(ones, shift) if upper else np.tril(ones, shift)
    return select(g, g.constant(mask), x, g.constant(np.zeros((1,) * x.rank, x.dtype)))


@operator()
def EyeLike(g: Builder, x: Value, *, dtype: int | None = None, k: int = 0) -> Value:
    from tnnquant.onnx.read import element_type

    if x.rank != 2:
        raise Refused(f"its operand has {x.rank} dims, expected 2")
    rows, columns = x.dims
    return g.constant(np.eye(rows, columns, k=k), x.dtype if dtype is None else element_type(dtype, "its result"))
