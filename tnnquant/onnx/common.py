"""What converters share: operations of two operands, constants, axes, chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.onnx.builder import Builder
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.value import BOOL, FLOAT, Value, data_type

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "axis_of",
    "binary",
    "broadcast_dims",
    "chain",
    "constant_of",
    "expanded",
    "in_float",
    "ints",
    "select",
    "unary",
]


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the front."""
    if not -rank <= axis < max(rank, 1):
        raise Refused(f"its axis is {axis}, the operand has {rank} dims")
    return axis + rank if axis < 0 else axis


@overload
def constant_of(value: Value, what: str) -> np.ndarray: ...
@overload
def constant_of(value: Value | None, what: str) -> np.ndarray | None: ...
def constant_of(value: Value | None, what: str) -> np.ndarray | None:
    """The elements of an operand that must be constant; None if it is absent.

    Raises
    ------
    Refused
        It depends on the data.
    """
    if value is None:
        return None
    if not value.is_constant:
        raise Refused(f"its {what} depend on the data; TNN wants them constant")
    return value.array


@overload
def ints(value: Value, what: str) -> list[int]: ...
@overload
def ints(value: Value | None, what: str) -> list[int] | None: ...
def ints(value: Value | None, what: str) -> list[int] | None:
    """The integers of a constant operand; None if it is absent."""
    array = constant_of(value, what)
    return None if array is None else [int(v) for v in array.reshape(-1)]


def broadcast_dims(*values: Value) -> tuple[int, ...]:
    """Dims of operands broadcast together, by ONNX's (NumPy's) rule."""
    try:
        return tuple(int(d) for d in np.broadcast_shapes(*(value.dims for value in values)))
    except ValueError:
        shown = ", ".join("x".join(map(str, value.dims)) for value in values)
        raise Refused(f"its operands of {shown} cannot be broadcast") from None


def expanded(g: Builder, x: Value, dims: Sequence[int]) -> Value:
    """``x`` broadcast to dims."""
    dims = tuple(dims)
    if x.dims == dims:
        return x
    if x.is_constant:
        return Value.constant(np.ascontiguousarray(np.broadcast_to(x.elements, dims)))
    return g.add("Expand", [ranked(g, x, len(dims))], dims)


def ranked(g: Builder, x: Value, rank: int) -> Value:
    """``x`` with leading dims of 1, to that rank."""
    return g.reshape(x, (1,) * (rank - x.rank) + x.dims)


def binary(g: Builder, kind: str, a: Value, b: Value, dtype: DTypeLike | None = None) -> Value:
    """A layer of TNN's arithmetic of two operands; a constant one goes into its resource."""
    dims = broadcast_dims(a, b)
    if 0 in dims:
        return Value.constant(np.zeros(dims, a.dtype))
    if np.int8 in (a.dtype, b.dtype) and kind != "And":
        # TNN has no arithmetic of bytes; the low bits of wider integers are the same.
        return g.cast(binary(g, kind, g.cast(a, np.int32), g.cast(b, np.int32)), np.int8)
    if a.is_constant and b.is_constant:
        return g.add(kind, [a, b], -1, dtype=dtype)
    for position, (constant, blob) in enumerate(((a, b), (b, a))):
        if constant.is_constant:
            array = constant.elements.astype(FLOAT) if blob.is_float else constant.elements
            if not array.size:
                raise Refused("it reads an empty tensor; TNN has none")
            array = array.reshape(array.shape or (1,))
            return g.add(kind, [blob], position, tensors={"element": array}, dtype=dtype or blob.dtype)
    return g.add(kind, [a, b], -1, dtype=dtype)


def chain(g: Builder, kind: str, values: Sequence[Value]) -> Value:
    """``binary`` over any number of operands, from the left."""
    result = values[0]
    for value in values[1:]:
        result = binary(g, kind, result, value)
    return result


def in_float(g: Builder, x: Value) -> Value:
    """``x`` as floats: TNN's kernel takes no integers."""
    return x if x.is_float else g.cast(x, FLOAT)


def unary(g: Builder, kind: str, x: Value, *params: Any) -> Value:
    """A function of floats, elementwise."""
    if not x.is_float:
        return g.cast(g.add(kind, [g.cast(x, FLOAT)], *params), x.dtype)
    return g.add(kind, [x], *params)


def select(g: Builder, condition: Value, x: Value, y: Value) -> Value:
    """``x`` where the condition holds, else ``y``. TNN wants operands of one rank."""
    rank = max(condition.rank, x.rank, y.rank, 1)
    broadcast_dims(condition, x, y)
    if data_type(x.dtype) == DataType.INT8:
        narrow = x.dtype
        made = select(g, condition, g.cast(x, np.int32), g.cast(y, np.int32))
        return g.add("Cast", [made], int(DataType.INT8), dtype=narrow)
    operands = [ranked(g, value, rank) for value in (x, y, condition)]
    return g.add("Where", operands, dtype=x.dtype)


def compare(g: Builder, kind: str, a: Value, b: Value) -> Value:
    """Equal, Greater or Less, as booleans."""
    if kind == "Equal" and (limit := _infinite_maximum(g, a, b)) is not None:
        return limit
    rank = max(a.rank, b.rank, 1)
    broadcast_dims(a, b)
    for position, (constant, blob) in enumerate(((a, b), (b, a))):
        if kind != "Equal" and constant.is_constant and constant.size == 1 and constant.rank <= blob.rank:
            element = constant.elements.reshape(1)
            return g.add(kind, [blob], position, tensors={"element": element}, dtype=BOOL)
    operands = [ranked(g, value, rank) for value in (a, b)]
    return g.add(kind, operands, *(() if kind == "Equal" else (-1,)), dtype=BOOL)


def _infinite_maximum(g: Builder, a: Value, b: Value) -> Value | None:
    """``ReduceMax(..) == -inf`` (a row that is masked all along): TNN's maximum stops at the lowest finite number."""
    limit = np.finfo(np.float32).max
    for blob, constant in ((a, b), (b, a)):
        kind = next((node.type_string for node in g.nodes if blob.name in node.outputs), "")
        if constant.array is None or constant.size != 1 or kind not in ("ReduceMax", "ReduceMin"):
            continue
        value = float(constant.array.reshape(-1)[0])
        if kind == "ReduceMax" and value == -np.inf:
            return g.add("Not", [compare(g, "Greater", blob, g.constant(-limit, np.float32))], dtype=BOOL)
        if kind == "ReduceMin" and value == np.inf:
            return g.add("Not", [compare(g, "Less", blob, g.constant(limit, np.float32))], dtype=BOOL)
    return None
