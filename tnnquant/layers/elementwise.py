"""What element-wise layers share: the unary bases, TNN's broadcasting, sums and products (docs/tnn-format.md, 4.4,
5.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import zip_longest
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.int8 import ThroughFloat
from tnnquant.layers.memory import dense, like, matching, restored
from tnnquant.layers.movement import text

__all__ = [
    "Mapped",
    "Unary",
    "arithmetic",
    "check_broadcast",
    "in_double",
    "left_maximum",
    "mapped",
    "right_maximum",
    "spread",
    "stretched",
]


class Unary(Layer):
    """A float function of every element of one blob.

    On INT32 and INT8 blobs TNN's unary kernels do nothing: the integers pass as they are (docs/tnn-format.md, 5.3,
    6.5).
    """

    INT8 = ThroughFloat

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT, DataType.INT32, DataType.INT8)
        return self

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        if x.dtype != np.float32:
            return [np.asarray(self.integers(x))]
        with np.errstate(all="ignore"):
            return [np.asarray(self.compute(x))]

    def compute(self, x: np.ndarray) -> np.ndarray:
        """The function of a float32 array, of the same shape."""
        raise NotImplementedError

    def integers(self, x: np.ndarray) -> np.ndarray:
        """What an INT32 or INT8 array becomes."""
        return x


class Mapped(Unary):
    """A unary function that :mod:`tnnquant.kernels.eltwise` has."""

    BY_ELEMENT = True
    KEEPS_LAYOUT = True

    def function(self) -> tuple[str, float, float]:
        """The name of its code there and its parameters a, b."""
        raise NotImplementedError

    def compute(self, x: np.ndarray) -> np.ndarray:
        return mapped(x, *self.function())

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> np.ndarray | None:
        from tnnquant.kernels import eltwise

        name, a, b = self.function()
        return eltwise.map_f32_op(getattr(eltwise, name), inputs[0], a, b, outputs[0])


def mapped(x: np.ndarray, function: str, a: float = 0.0, b: float = 0.0) -> np.ndarray:
    """A function of :mod:`tnnquant.kernels.eltwise`, by the name of its code, of every element; the layout is kept."""
    from tnnquant.kernels import eltwise, program

    out = like(x)
    if x.size:
        code = getattr(eltwise, function)
        op = eltwise.map_f32_op(code, x, a, b, out)
        if op is None:
            x = restored(*dense(x))
            op = eltwise.map_f32_op(code, x, a, b, out)
            assert op is not None  # of dense arrays
        program.run(op)
    return out


def in_double(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """``function`` evaluated in double and rounded once to float32: what glibc's float functions give."""
    return function(x.astype(np.float64)).astype(np.float32)


# --- operations of two arrays ---

_UFUNCS = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide}


def arithmetic(function: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a + b`` (ADD), ``a - b`` (SUB), ``a * b`` (MUL) or ``a / b`` (DIV) of float32, broadcast as by NumPy.

    Parameters
    ----------
    function : {"ADD", "SUB", "MUL", "DIV"}
    a, b : float32
        Shapes that NumPy can broadcast.

    Returns
    -------
    float32
        In the memory order of the first operand that has its shape.
    """
    from tnnquant.kernels import eltwise, program

    dims = np.broadcast_shapes(a.shape, b.shape)
    leader = next((x for x in (a, b) if x.shape == dims), None)
    out = np.empty(dims, np.float32) if leader is None else like(leader)
    if not out.size:
        return out
    code = getattr(eltwise, function)
    op = eltwise.binary_f32_op(code, a, b, out)
    if op is None:
        a, b = matching(a, out), matching(b, out)
        op = eltwise.binary_f32_op(code, a, b, out)
    if op is None:
        with np.errstate(all="ignore"):
            _UFUNCS[function](a, b, out=out)
        return out
    program.run(op)
    return out


# --- broadcasting ---


def left_maximum(dims: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Element-wise maximum of dims aligned on the LEFT, as TNN infers Greater, Less, Equal and Where."""
    return reduce(lambda a, b: tuple(max(pair) for pair in zip_longest(a, b, fillvalue=0)), map(tuple, dims))


def right_maximum(dims: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Element-wise maximum of dims aligned on the right, as TNN infers arithmetic."""
    return left_maximum([d[::-1] for d in dims])[::-1]


def check_broadcast(a: Sequence[int], b: Sequence[int]) -> None:
    """Raise GraphError unless dims aligned on the right are equal or 1."""
    if any(1 != m != n != 1 for m, n in zip(a[::-1], b[::-1], strict=False)):
        raise GraphError(f"operands of {text(a)} and {text(b)} cannot be broadcast")


def stretched(x: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    """``x`` so that NumPy broadcasts it to ``dims`` as TNN indexes it.

    TNN aligns on the right and reads element ``min(index, dim - 1)`` of every axis: a dim that is neither 1 nor that
    of the output repeats its last element, or is cut off.
    """
    for axis, (have, want) in enumerate(zip(x.shape, dims[len(dims) - x.ndim :], strict=True)):
        if have not in (1, want):
            if have == 0:
                raise GraphError(f"an operand is empty ({text(x.shape)}), the output is {text(dims)}")
            x = x.take(np.minimum(np.arange(want), have - 1), axis=axis)
    return x


def spread(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """``x`` itself, or a copy broadcast to ``dims``; an array also where NumPy made a number of a blob without dims."""
    return np.asarray(x) if x.shape == dims else np.broadcast_to(x, dims).copy()
