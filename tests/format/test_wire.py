"""Primitives of the .tnnmodel: bytes as literals, and every way to be wrong."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, ModelFormatError
from tnnquant.format.wire import ByteReader, ByteWriter, shown

MAGIC = b"\x04\x00\xbc\xfa"
MAGIC_V1 = b"\x02\x00\xbc\xfa"


def ints(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def tensor_of(data: bytes) -> Tensor:
    reader = ByteReader(data, "m.tnnmodel")
    tensor = reader.tensor("the filter")
    assert reader.left == 0
    return tensor


def written(tensor: Tensor) -> bytes:
    writer = ByteWriter()
    writer.tensor(tensor, "the filter")
    return bytes(writer)


def test_numbers_and_strings():
    reader = ByteReader(b"\xff\xff\xff\xff\x07\x03\x00\x00\x00a\xffb", "m")
    assert reader.int32("a number") == -1
    assert reader.byte("a flag") == 7
    assert reader.string("a name") == "a\udcffb"
    assert reader.left == 0


def test_written_numbers_and_strings():
    writer = ByteWriter()
    writer.int32(-2)
    writer.uint32(4206624772)
    writer.byte(1)
    writer.string("a\udcffb")
    assert bytes(writer) == b"\xfe\xff\xff\xff\x04\x00\xbc\xfa\x01\x03\x00\x00\x00a\xffb"


def test_buffer_of_version_2():
    head = b"\x00\x00\x00\x00\x08\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"
    data = MAGIC + head + b"\x00\x00\x80?\x00\x00\x00\xc0"
    tensor = tensor_of(data)
    assert (tensor.dtype, tensor.dims, tensor.data.tolist()) == (DataType.FLOAT, (1, 2), [1.0, -2.0])
    assert written(tensor) == data


def test_buffer_of_version_1_has_no_dims():
    tensor = tensor_of(b"\x00\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x01\xff\x80")
    assert (tensor.dtype, tensor.dims, tensor.data.tolist()) == (DataType.INT8, (), [1, -1, -128])
    assert tensor_of(MAGIC_V1 + ints(3, 4, 9)).data.tolist() == [9]
    assert written(tensor) == MAGIC + ints(2, 3, 0) + b"\x01\xff\x80"


def test_empty_buffer_is_float_whatever_it_says():
    tensor = tensor_of(MAGIC + ints(2, 0))
    assert (tensor.dtype, tensor.dims, tensor.size) == (DataType.FLOAT, (), 0)
    assert written(Tensor(np.empty(0, np.int8), (0,), DataType.INT8)) == MAGIC + ints(0, 0)


@pytest.mark.parametrize("code", [c for c in DataType if c != DataType.AUTO], ids=lambda code: code.name)
def test_every_data_type_comes_back(code, rng):
    data = rng.integers(0, 255, 12 * code.numpy.itemsize, np.uint8).view(code.numpy)
    tensor = tensor_of(written(Tensor(data, (3, 4), code)))
    assert tensor.dtype == code
    assert tensor.dims == (3, 4)
    assert tensor.data.tobytes() == data.tobytes()


def test_arrays_are_aligned_contiguous_writeable_copies():
    # An odd offset: the string before has three letters.
    data = b"\x03\x00\x00\x00abc" + MAGIC + ints(0, 8, 0) + struct.pack("<2f", 1, 2)
    reader = ByteReader(data, "m")
    reader.string("a name")
    flags = reader.tensor("the filter").data.flags
    assert flags.aligned
    assert flags.c_contiguous
    assert flags.writeable
    assert flags.owndata


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"m: byte 0: expected the magic number of it \(4 bytes\), found 0 bytes before the end"),
        (MAGIC + b"\x00\x00", r"byte 4: expected the data type of it \(4 bytes\), found 2 bytes before the end"),
        (MAGIC + ints(0), r"byte 8: expected the byte length of it \(4 bytes\), found 0 bytes"),
        (MAGIC + ints(0, 8, 0) + b"1234", r"byte 16: expected the elements of it \(8 bytes\), found 4 bytes"),
        (MAGIC + ints(0, 2**31 - 1, 0), "byte 8: expected the byte length of it that fits into the 4 bytes left"),
        (MAGIC + ints(0, -4, 0), "byte 8: expected the byte length of it from 0 to 2147483647, found -4"),
        (MAGIC + ints(7, 4, 0, 0), "byte 4: expected the data type of it from 0 to 6, found 7"),
        (MAGIC + ints(-1, 4, 0, 0), "byte 4: expected the data type of it from 0 to 6, found -1"),
        (MAGIC + ints(0, 3, 0) + b"123", r"byte 8: expected a byte length of it that is a multiple of 4 \(FLOAT\)"),
        (MAGIC + ints(2, 1, 33) + ints(*[1] * 33), "byte 12: expected the rank of it from 0 to 32, found 33"),
        (MAGIC + ints(2, 1, -1, 0), "byte 12: expected the rank of it from 0 to 32, found -1"),
        (MAGIC + ints(2, 1, 5) + b"1", "byte 12: expected the rank of it that fits into the 1 bytes left, found 5"),
        (MAGIC + ints(2, 4, 2, -2, -2) + b"1234", "byte 16: expected dims of it of at least 0, found -2 -2"),
    ],
)
def test_bad_buffers(data, message):
    with pytest.raises(ModelFormatError, match=message):
        ByteReader(data, "m").tensor("it")


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (-1, "byte 0: expected the length of a name from 0 to 2147483647, found -1"),
        (4, "byte 0: expected the length of a name that fits into the 3 bytes left, found 4"),
    ],
)
def test_bad_strings(length, message):
    with pytest.raises(ModelFormatError, match=message):
        ByteReader(ints(length) + b"abc", "m").string("a name")


def test_context_stands_in_the_message():
    reader = ByteReader(b"", "m.tnnmodel")
    reader.context = "resource 1 of 2"
    with pytest.raises(ModelFormatError, match=r"^m\.tnnmodel: byte 0: resource 1 of 2: expected a flag"):
        reader.byte("a flag")


def test_a_hostile_length_allocates_nothing():
    data = MAGIC + ints(0, 2**31 - 4, 0) + b"1234"
    tracemalloc.start()
    try:
        with pytest.raises(ModelFormatError):
            ByteReader(data, "m").tensor("it")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_arrays_are_written_without_a_copy():
    data = np.arange(1000, dtype=np.float32)
    writer = ByteWriter()
    writer.tensor(Tensor(data), "it")
    assert np.shares_memory(np.frombuffer(writer.pieces[-1], np.float32), data)


def test_strided_arrays_are_written_in_order():
    data = np.arange(6, dtype=np.int32)[::2]
    assert written(Tensor(data, (), DataType.INT32)) == MAGIC + ints(3, 12, 0, 0, 2, 4)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (Tensor(np.zeros(2, np.float64)), "it is float64, expected float32 for its data type FLOAT"),
        (Tensor(np.zeros(2, np.float32), (1,) * 33), "it has dims 1 1 .*, which the format cannot hold"),
        (Tensor(np.zeros(2, np.float32), (-1, 2)), "it has dims -1 2, which the format cannot hold"),
    ],
)
def test_tensors_that_cannot_be_written(tensor, message):
    with pytest.raises(GraphError, match=message):
        ByteWriter().tensor(tensor, "it")


def test_shown_is_short_and_on_one_line():
    assert shown("a\nb") == r"'a\nb'"
    assert shown("x" * 1000) == repr("x" * 60 + "...")
    assert shown("\udcff").isascii()
