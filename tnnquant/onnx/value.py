"""What is known of an ONNX value while its graph is converted: dims, type, and the elements of a constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.onnx.refusal import Refused

__all__ = ["BOOL", "FLOAT", "INT32", "INT64", "Missing", "Sequence_", "Value", "data_type", "stored"]

FLOAT, INT32, INT64, BOOL = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.int64), np.dtype(bool)


@dataclass(frozen=True, eq=False)
class Value:
    """An ONNX tensor.

    Attributes
    ----------
    dims : tuple of int
    dtype : numpy.dtype
        ONNX's element type. Floats that are no constants are float32, whatever the file says.
    name : str
        Of the TNN blob; empty for a constant that no layer reads as a blob.
    array : ndarray or None
        The elements of a constant, in ONNX's own type.
    """

    dims: tuple[int, ...]
    dtype: np.dtype
    name: str = ""
    array: np.ndarray | None = None

    @classmethod
    def constant(cls, array: np.ndarray) -> Value:
        """A constant."""
        array = np.asarray(array)
        return cls(array.shape, array.dtype, "", array)

    @property
    def is_constant(self) -> bool:
        """Whether the elements are known."""
        return self.array is not None

    @property
    def elements(self) -> np.ndarray:
        """The elements of a constant.

        Raises
        ------
        Refused
            The value is no constant.
        """
        if self.array is None:
            raise Refused("it reads values that depend on the data where TNN needs constants")
        return self.array

    @property
    def rank(self) -> int:
        """Number of dims."""
        return len(self.dims)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.dims, dtype=np.int64)) if self.dims else 1

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers."""
        return self.dtype.kind == "f"


@dataclass(frozen=True)
class Missing:
    """Stands for a value that cannot be made; ``reason`` empty: its own node has been refused already."""

    reason: str = ""


@dataclass(frozen=True, eq=False)
class Sequence_:
    """An ONNX sequence, which exists while the graph is converted only."""

    items: tuple[Value, ...]


_STORED = {
    "f": DataType.FLOAT,
    "b": DataType.INT8,
    "i": DataType.INT32,
    "u": DataType.INT32,
}


def data_type(dtype: np.dtype) -> DataType:
    """How TNN holds a blob of that ONNX type: bool and int8 as INT8, the other integers as INT32, floats as FLOAT."""
    if dtype == np.int8:
        return DataType.INT8
    try:
        return _STORED[dtype.kind]
    except KeyError:
        raise Refused(f"TNN has no blobs of the type {dtype}") from None


def stored(array: np.ndarray) -> np.ndarray:
    """The elements as TNN holds them.

    Raises
    ------
    Refused
        An integer does not fit into 32 bits, or a float64 into the range of float32.
    """
    wanted = data_type(array.dtype)
    if wanted == DataType.INT32:
        limits = np.iinfo(np.int32)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            worst = array.min() if array.min() < limits.min else array.max()
            raise Refused(f"the constant {worst} does not fit into the 32 bits of TNN's integers")
    if wanted == DataType.FLOAT and array.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            narrow = array.astype(np.float32)
        if (np.isinf(narrow) & np.isfinite(array)).any():
            raise Refused("a float64 constant lies beyond the range of float32")
        return narrow
    return array.astype(wanted.numpy, copy=False)
