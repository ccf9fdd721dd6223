"""Data types, stored tensors and scales, as TNN numbers and stores them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import prod

import numpy as np

from tnnquant.errors import ModelFormatError

__all__ = ["DataType", "QuantParams", "Tensor"]


class DataType(IntEnum):
    """TNN's data type codes."""

    AUTO = -1
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BFP16 = 4
    INT64 = 5
    UINT32 = 6

    @property
    def numpy(self) -> np.dtype:
        """Little-endian NumPy type of one stored element (BFP16: its 16 bits)."""
        return _NUMPY[self]

    @classmethod
    def of(cls, array: np.ndarray) -> DataType:
        """The code of a NumPy array's type (uint16 is BFP16)."""
        for code, dtype in _NUMPY.items():
            if array.dtype == dtype:
                return code
        raise TypeError(f"TNN has no data type for {array.dtype}")


_NUMPY: dict[DataType, np.dtype] = {
    DataType.FLOAT: np.dtype("<f4"),
    DataType.HALF: np.dtype("<f2"),
    DataType.INT8: np.dtype("i1"),
    DataType.INT32: np.dtype("<i4"),
    DataType.BFP16: np.dtype("<u2"),
    DataType.INT64: np.dtype("<i8"),
    DataType.UINT32: np.dtype("<u4"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Tensor:
    """A stored weight, bias, table or constant.

    Attributes
    ----------
    data : ndarray (n,)
        Flat, C-contiguous, of the NumPy type of ``dtype``.
    dims : tuple of int
        Dims as stored; often empty although there is data (TNN's quantizer writes no dims).
    dtype : DataType
    """

    data: np.ndarray
    dims: tuple[int, ...] = ()
    dtype: DataType = DataType.FLOAT

    def __repr__(self) -> str:
        dims = "x".join(map(str, self.dims)) if self.dims else f"{self.data.size} elements"
        return f"Tensor({self.dtype.name} {dims})"

    @classmethod
    def from_array(cls, array: np.ndarray, *, with_dims: bool = True) -> Tensor:
        """Store ``array``; its shape becomes the dims unless ``with_dims`` is false."""
        array = np.ascontiguousarray(array)
        return cls(array.reshape(-1), tuple(array.shape) if with_dims else (), DataType.of(array))

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    def float32(self) -> np.ndarray:
        """The elements as float32 (n,): HALF and BFP16 widened, FLOAT as it is."""
        if self.dtype == DataType.FLOAT:
            return self.data
        if self.dtype == DataType.HALF:
            return self.data.astype(np.float32)
        if self.dtype == DataType.BFP16:
            return (self.data.astype(np.uint32) << 16).view(np.float32)
        raise ModelFormatError(f"a tensor of type {self.dtype.name} stands where FLOAT or HALF is expected")

    def array(self) -> np.ndarray:
        """The elements in the stored dims (flat when there are none); HALF and BFP16 widened to float32."""
        data = self.float32() if self.dtype in (DataType.HALF, DataType.BFP16) else self.data
        return data.reshape(self.dims) if self.dims and prod(self.dims) == data.size else data


@dataclass(frozen=True, eq=False, repr=False)
class QuantParams:
    """Quantization of one blob: ``real = (q - zero_point) * scale``.

    Attributes
    ----------
    scale : float32 (n,)
        Real units per int8 step; n is 1 (per tensor) or the number of channels (axis 1).
    zero_point : int8 (n,)
    """

    scale: np.ndarray
    zero_point: np.ndarray

    def __repr__(self) -> str:
        if self.scale.size == 1:
            return f"QuantParams(scale {self.scale[0]:.6g}, zero point {self.zero_point[0]})"
        low, high = (f"{value:.6g}" for value in (self.scale.min(), self.scale.max())) if self.scale.size else ("", "")
        return f"QuantParams({self.scale.size} scales, {low} to {high})"

    def first(self, channels: int) -> QuantParams:
        """Those of the first channels; itself with one scale for all."""
        return self if self.scale.size == 1 else QuantParams(self.scale[:channels], self.zero_point[:channels])
