"""What the layers that only move data share: copies that keep the memory layout, integers out of constants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobScales, BlobSpec, Layer
from tnnquant.layers.halves import Int8Half, int8_form

__all__ = [
    "CopyLayer",
    "Movement",
    "Relabeling",
    "axis_of",
    "carried_dtype",
    "checked_dims",
    "contiguous",
    "copy_all",
    "copy_into",
    "copy_ops",
    "empty_blob",
    "integers",
    "is_channels_last",
    "owned",
    "reshaped",
    "reshaping",
    "text",
    "view_as",
]

Pairs = list[tuple[np.ndarray, np.ndarray]]

INT_MAX, INT_MIN = 2**31 - 1, -(2**31)

#: NumPy refuses to copy on request since 2.1; since 2.5 the older way warns.
_RESHAPES_WITHOUT_COPY = np.lib.NumpyVersion(np.__version__) >= "2.1.0"
# Below this many bytes NumPy's copy is faster than the start of a kernel (about 10 us).
_KERNEL_BYTES = 1 << 16


def text(dims: Sequence[int]) -> str:
    """Dims for a message: ``1x3x224x224``, ``scalar``."""
    return "x".join(map(str, dims)) or "scalar"


def axis_of(axis: int, rank: int, what: str = "axis") -> int:
    """The axis counted from the front.

    Parameters
    ----------
    axis : int
        Negative: counted from the end.
    rank : int
        Dims of the blob.
    what : str
        Name of the parameter, for the message.

    Raises
    ------
    GraphError
        The blob has no such axis.
    """
    if not -rank <= axis < rank:
        raise GraphError(f"{what} is {axis}, the blob has {rank} dims: expected {-rank} to {rank - 1}")
    return axis % rank


def checked_dims(dims: Iterable[int], what: str = "the output") -> tuple[int, ...]:
    """The dims as a tuple; a negative one is a GraphError."""
    dims = tuple(int(d) for d in dims)
    if any(d < 0 for d in dims):
        raise GraphError(f"{what} would have the dims {text(dims)}")
    return dims


def carried_dtype(inputs: Sequence[BlobSpec]) -> DataType:
    """Data type of an output: that of the first input that is no constant, else of the first (docs/tnn-format.md,
    4.1)."""
    for spec in inputs:
        if spec.value is None:
            return spec.dtype
    return inputs[0].dtype


def integers(value: np.ndarray) -> tuple[int, ...]:
    """The elements of a constant as Python integers, saturated to 32 bits; NaN is the lowest, as a C++ cast has it."""
    values = np.asarray(value).reshape(-1)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float64), nan=INT_MIN, posinf=INT_MAX, neginf=INT_MIN)
    return tuple(max(INT_MIN, min(INT_MAX, int(v))) for v in values)


class Movement(Layer):
    """Base of the layers that only move data: checks how many inputs there are."""

    LEAST_INPUTS: ClassVar[int] = 1

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        """The layer itself, once the number of inputs is checked."""
        if len(inputs) < self.LEAST_INPUTS:
            raise GraphError(f"has {len(inputs)} inputs, expected at least {self.LEAST_INPUTS}")
        return self


class CopyLayer(Movement):
    """Base of the layers whose outputs are made by copies alone, and so can be part of a kernel program.

    Where no program can be made because one of several inputs is a constant, ``forward`` must not return a view of the
    first: the executor takes it for dead after this layer (:func:`owned`).
    """

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        """Pairs (source, target) of equal shape whose copies, in order, make the outputs; None: not so simple.

        The arrays are views of ``inputs``, ``outputs`` and ``state``.
        """
        raise NotImplementedError

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> np.ndarray | None:
        pairs = self.copies(inputs, outputs, state)
        return None if pairs is None else copy_ops(pairs)


class Relabeling(CopyLayer):
    """Base of the layers whose output is the input under other dims; a subclass says which."""

    def dims_of(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        """Dims of the output for an input of these dims; GraphError if there are none."""
        raise NotImplementedError

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(self.dims_of(inputs[0].dims), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [reshaped(inputs[0], self.dims_of(inputs[0].shape))]

    def relabels(self) -> bool:
        return True

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return reshaping(inputs[0], outputs[0])


@int8_form(CopyLayer)
class CopyInt8(Int8Half[CopyLayer]):
    """Bytes are moved, whatever the scales of input and output (docs/tnn-format.md, 6.5)."""

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> Any:
        return self.layer.prepare(tensors, inputs)

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        return self.layer.forward(inputs, state)

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        return self.layer.emit(inputs, outputs, state)


def copy_ops(pairs: Pairs) -> np.ndarray | None:
    """The rows of a kernel program that copy each first array into the second; None: a pair has too many axes."""
    from tnnquant.kernels.strided_copy import can_copy, strided_copy_ops

    pairs = [(x, out) for x, out in pairs if out.size and not _same_place(x, out)]
    return strided_copy_ops(pairs) if all(can_copy(x, out) for x, out in pairs) else None


def owned(result: np.ndarray, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """``result``, copied if there are several inputs and it is a view of the first (see :class:`CopyLayer`)."""
    if len(inputs) > 1 and np.may_share_memory(result, inputs[0]):
        return copy_into(empty_blob(result.shape, result.dtype, last=is_channels_last(result)), result)
    return result


def _same_place(x: np.ndarray, out: np.ndarray) -> bool:
    return x.strides == out.strides and x.__array_interface__["data"] == out.__array_interface__["data"]


# --- memory layouts ---


def is_channels_last(x: np.ndarray) -> bool:
    """Whether the memory of a rank-4 blob runs along the channels first (of a whole blob or a slice of one)."""
    if x.ndim != 4 or x.shape[1] == 1:
        return False
    return all(x.strides[1] < abs(x.strides[i]) for i in (2, 3) if x.shape[i] > 1)


def empty_blob(dims: Sequence[int], dtype: DTypeLike, *, last: bool) -> np.ndarray:
    """A fresh blob of these logical dims; ``last``: channels-last memory, if it is of rank 4."""
    if last and len(dims) == 4:
        n, c, h, w = dims
        return np.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)
    return np.empty(dims, dtype)


def copy_all(pairs: Pairs) -> None:
    """Copy each first array into the second one, of the same shape; in parallel when it pays."""
    pairs = [(x, out) for x, out in pairs if out.size]
    if sum(out.nbytes for _, out in pairs) >= _KERNEL_BYTES:
        from tnnquant.kernels.strided_copy import can_copy, strided_copy

        if all(x.dtype == out.dtype and can_copy(x, out) for x, out in pairs):
            strided_copy(pairs)
            return
    for x, out in pairs:
        np.copyto(out, x, casting="same_kind")


def copy_into(out: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Copy ``x`` into ``out``, of the same shape, which is returned."""
    copy_all([(x, out)])
    return out


def contiguous(x: np.ndarray) -> np.ndarray:
    """``np.ascontiguousarray`` with a fast transpose."""
    return x if x.flags.c_contiguous else copy_into(np.empty(x.shape, x.dtype), x)


def view_as(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray | None:
    """``x`` under other dims of as many elements without a copy, or None."""
    if not _RESHAPES_WITHOUT_COPY:
        view = x.view()
        try:
            view.shape = dims
        except AttributeError:
            return None
        return view
    try:
        return np.reshape(x, dims, copy=False)
    except ValueError:
        return None


def reshaped(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """The elements of ``x`` in logical (row-major) order under ``dims``; a view where possible.

    Where a copy is needed and the memory of ``x`` runs along what becomes the channels of a rank-4 result (a channel
    shuffle written as reshape, permute, reshape), the result is channels-last.
    """
    if x.shape == dims:
        return x
    view = view_as(x, dims)
    if view is not None:
        return view
    if len(dims) == 4 and _runs_along_channels(x, dims):
        out = empty_blob(dims, x.dtype, last=True)
        target = view_as(out, x.shape)
        if target is not None:
            copy_into(target, x)
            return out
    return contiguous(x).reshape(dims)


def _runs_along_channels(x: np.ndarray, dims: tuple[int, ...]) -> bool:
    axes = [i for i in range(x.ndim) if x.shape[i] > 1]
    fastest = min(axes, key=lambda i: abs(x.strides[i]))
    inner = prod(x.shape[fastest + 1 :])
    return inner >= dims[2] * dims[3] and inner * x.shape[fastest] <= prod(dims[1:])


def reshaping(x: np.ndarray, out: np.ndarray) -> Pairs | None:
    """The copy of ``x`` into ``out`` of other dims, if one of the two can be seen under the dims of the other."""
    view = view_as(x, out.shape)
    if view is not None:
        return [(view, out)]
    view = view_as(out, x.shape)
    return None if view is None else [(x, view)]
