"""Bytes to numbers, strings and tensors, and back: the primitives of the .tnnmodel (docs/tnn-format.md, 2.1).

The reader compares every count and length with the bytes that are left before it allocates anything. Each of its errors
names the file, the byte offset, what was expected there and what was found.
"""

from __future__ import annotations

import struct
from typing import NoReturn

import numpy as np

from tnnquant.base.memory import MAX_RANK
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, ModelFormatError
from tnnquant.format.constants import INT_BYTES, MAGIC_V2, MAX_DIM

__all__ = ["ByteReader", "ByteWriter", "shown"]

_INT = struct.Struct("<i")
_UINT = struct.Struct("<I")
_ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}
"""Names are raw bytes; those that are not UTF-8 come back as they were."""

_SHOWN_LENGTH = 60


def shown(text: str) -> str:
    """A text of a file, quoted on one line and cut to a bearable length, for an error message."""
    return repr(text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "...")


class ByteReader:
    """A cursor over the bytes of a .tnnmodel.

    Parameters
    ----------
    data : bytes
    name : str
        The file, for messages.

    Attributes
    ----------
    offset : int
        Of the next byte.
    context : str
        What is being read, for messages; the caller keeps it up to date.
    """

    def __init__(self, data: bytes, name: str):
        self.data = data
        self.name = name
        self.offset = 0
        self.context = ""

    @property
    def left(self) -> int:
        """Bytes after the cursor."""
        return len(self.data) - self.offset

    def fail(self, expected: str, found: str, at: int | None = None) -> NoReturn:
        """Raise the error for what stands at offset ``at`` (the cursor, if not given)."""
        place = f"{self.name}: byte {self.offset if at is None else at}: "
        context = f"{self.context}: " if self.context else ""
        raise ModelFormatError(f"{place}{context}expected {expected}, found {found}")

    def _need(self, count: int, what: str) -> None:
        if count > self.left:
            self.fail(f"{what} ({count} bytes)", f"{self.left} bytes before the end of the file")

    def peek_uint32(self) -> int | None:
        """The unsigned number at the cursor, which stays where it is; None if too few bytes are left."""
        return _UINT.unpack_from(self.data, self.offset)[0] if self.left >= INT_BYTES else None

    def int32(self, what: str) -> int:
        """A signed number of 4 bytes."""
        self._need(INT_BYTES, what)
        value: int = _INT.unpack_from(self.data, self.offset)[0]
        self.offset += INT_BYTES
        return value

    def byte(self, what: str) -> int:
        """An unsigned number of 1 byte."""
        self._need(1, what)
        value = self.data[self.offset]
        self.offset += 1
        return value

    def count(self, what: str, item_bytes: int, limit: int = MAX_DIM) -> int:
        """A count of items that take at least ``item_bytes`` each, checked against the bytes left and ``limit``."""
        at = self.offset
        value = self.int32(what)
        if not 0 <= value <= limit:
            self.fail(f"{what} from 0 to {limit}", str(value), at)
        if value * item_bytes > self.left:
            self.fail(f"{what} that fits into the {self.left} bytes left", str(value), at)
        return value

    def string(self, what: str) -> str:
        """A length, then as many bytes."""
        length = self.count(f"the length of {what}", 1)
        start, self.offset = self.offset, self.offset + length
        return self.data[start : self.offset].decode(**_ENCODING)

    def tensor(self, what: str) -> Tensor:
        """A raw buffer of either version, copied once into an aligned array of its own."""
        magic = self.int32(f"the magic number of {what}")
        at = self.offset
        code = self.int32(f"the data type of {what}")
        length = self.count(f"the byte length of {what}", 1)
        if length == 0:
            # Whatever data type is announced, TNN then has its default buffer.
            return Tensor(np.empty(0, DataType.FLOAT.numpy))
        if code not in _STORABLE:
            self.fail(f"the data type of {what} from {min(_STORABLE)} to {max(_STORABLE)}", str(code), at)
        dtype = DataType(code)
        dims = self._dims(what) if magic & _UINT32_MASK == MAGIC_V2 else ()
        if length % dtype.numpy.itemsize:
            self.fail(
                f"a byte length of {what} that is a multiple of {dtype.numpy.itemsize} ({dtype.name})",
                str(length),
                at + INT_BYTES,
            )
        self._need(length, f"the elements of {what}")
        data = np.frombuffer(self.data, dtype.numpy, length // dtype.numpy.itemsize, self.offset).copy()
        self.offset += length
        return Tensor(data, dims, dtype)

    def _dims(self, what: str) -> tuple[int, ...]:
        rank = self.count(f"the rank of {what}", INT_BYTES, MAX_RANK)
        at = self.offset
        dims = struct.unpack_from(f"<{rank}i", self.data, at)
        self.offset += rank * INT_BYTES
        if rank and min(dims) < 0:
            self.fail(f"dims of {what} of at least 0", " ".join(map(str, dims)), at)
        return dims


_UINT32_MASK = 2**32 - 1
_STORABLE = frozenset(code for code in DataType if code != DataType.AUTO)


class ByteWriter:
    """Collects the pieces of a .tnnmodel; arrays are not copied.

    Attributes
    ----------
    pieces : list of bytes-like
        In order; joined, they are the file.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)

    def uint32(self, value: int) -> None:
        """An unsigned number of 4 bytes."""
        self.pieces.append(_UINT.pack(value))

    def int32(self, value: int) -> None:
        """A signed number of 4 bytes."""
        self.pieces.append(_INT.pack(value))

    def byte(self, value: int) -> None:
        """An unsigned number of 1 byte."""
        self.pieces.append(bytes([value]))

    def string(self, text: str) -> None:
        """A length, then the bytes."""
        data = text.encode(**_ENCODING)
        self.int32(len(data))
        self.pieces.append(data)

    def tensor(self, tensor: Tensor, what: str) -> None:
        """A raw buffer of version 2.

        Raises
        ------
        GraphError
            The array is not of the tensor's data type, or the format has no room for it.
        """
        if tensor.size == 0:
            tensor = Tensor(np.empty(0, DataType.FLOAT.numpy))
        dtype = tensor.dtype.numpy
        if tensor.data.dtype != dtype:
            raise GraphError(f"{what} is {tensor.data.dtype}, expected {dtype} for its data type {tensor.dtype.name}")
        if tensor.data.nbytes > MAX_DIM:
            raise GraphError(f"{what} has {tensor.data.nbytes} bytes, the format has room for {MAX_DIM}")
        if len(tensor.dims) > MAX_RANK or not all(0 <= dim <= MAX_DIM for dim in tensor.dims):
            raise GraphError(f"{what} has dims {' '.join(map(str, tensor.dims))}, which the format cannot hold")
        self.uint32(MAGIC_V2)
        self.int32(tensor.dtype)
        self.int32(tensor.data.nbytes)
        if tensor.size:
            self.pieces.append(struct.pack(f"<{len(tensor.dims) + 1}i", len(tensor.dims), *tensor.dims))
            self.pieces.append(np.ascontiguousarray(tensor.data).reshape(-1).data.cast("B"))
