"""Tensors from .txt, .npy and .npz files."""

import contextlib
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.errors import InputError
from tnnquant.inputs.tensors import TensorTarget, read_npy, read_npz, read_text

TARGET = TensorTarget("data", (1, 2, 3, 4))
INTEGERS = TensorTarget("ids", (1, 6), DataType.INT32)


@pytest.fixture
def values(rng):
    return rng.standard_normal((1, 2, 3, 4)).astype(np.float32)


def text(tmp_path, content, target=TARGET):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    return read_text(path, target)


def npy(tmp_path, array, target=TARGET, **kwargs):
    np.save(tmp_path / "a.npy", array, **kwargs)
    return read_npy(tmp_path / "a.npy", target)


def test_text_in_nchw_order(tmp_path, values):
    for separator in ("\n", " ", "\t", " \r\n "):
        content = separator.join(map(repr, values.reshape(-1).tolist())).encode()
        got = text(tmp_path, content)
        assert (got.dtype, got.shape) == (np.float32, (1, 2, 3, 4))
        np.testing.assert_array_equal(got, values)
    np.testing.assert_array_equal(text(tmp_path, b"\xef\xbb\xbf" + content + b"\n\n"), values)


def test_text_written_by_numpy(tmp_path, values):
    np.savetxt(tmp_path / "a.txt", values.reshape(-1))
    np.testing.assert_array_equal(read_text(tmp_path / "a.txt", TARGET), values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 " * 23, r"a\.txt: holds 23 numbers, expected 24 for the model input 'data' \(1x2x3x4\)"),
        (b"1 " * 25, r"holds 25 numbers, expected 24"),
        (b" \n", r"holds 0 numbers, expected 24"),
        (b"1", r"holds 1 number, expected 24"),
        (b"1\n2\nx3 4", r"a\.txt, line 3: 'x3' is no number"),
        (b"1,2,3", r"line 1: '1,2,3' is no number; separate numbers by spaces or line ends"),
        (b"1\n\nNaN", r"line 3: 'NaN', expected finite numbers"),
        (b"-inf", r"line 1: '-inf', expected finite numbers"),
        (b"1\n1e39", r"line 2: '1e39' is too large for float32"),
        (b"1e999999999999999999999", r"too large for float32"),
        (b"16777217." + b"0" * 2000, r"line 1: '16777217\.0+\.\.\.' is no number"),
        (b"\x00\x01\x02", r"line 1: '\\x00\\x01\\x02' is no number"),
        ("\uff11".encode(), r"is no number"),
        (b"1 " * 50_000, r"a\.txt: 100000 bytes are too many for the 24 numbers of"),
    ],
)
def test_text_that_is_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        text(tmp_path, content)


def test_numbers_that_float64_would_round_wrongly(tmp_path):
    # Twice rounded, the first would become 1.0 + 2**-22 instead of 1.0 + 2**-23 (its float64 is the middle).
    target = TensorTarget("x", (6,))
    middle = "1.00000017881393432617187499999999"
    content = f"{middle} 16777217 16777219 1e-40 1e-46 3.4028235e38".encode()
    got = text(tmp_path, content, target)
    want = np.float32([1 + 2**-23, 16777216, 16777220, 1e-40, 0, 3.4028235e38])
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i8", "u1", ">i2"])
@pytest.mark.parametrize("shape", [(1, 2, 3, 4), (2, 3, 4), (24,)])
def test_npy_of_any_number_type_and_accepted_shape(tmp_path, rng, dtype, shape):
    array = rng.integers(0, 100, shape).astype(dtype)
    for order in "CF":
        got = npy(tmp_path, np.asarray(array, order=order))
        assert (got.dtype, got.shape) == (np.float32, (1, 2, 3, 4))
        np.testing.assert_array_equal(got, array.reshape(1, 2, 3, 4))
        assert got.flags.writeable


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 1, 3, 4)), r"a\.npy: holds 2x1x3x4, expected 1x2x3x4 or 24 or 2x3x4 for the model input 'data'"),
        (np.zeros((3, 4, 2)), r"holds 3x4x2"),
        (np.zeros(()), r"holds a single value"),
        (np.zeros((1,) * 30), r"holds 1x1x1x1"),
        (np.zeros(24, bool), r"holds values of type bool, expected integers or floats"),
        (np.zeros(24, complex), r"type complex128"),
        (np.zeros(24, "S4"), r"type \|S4"),
        (np.zeros(24, [("a", "f4")]), r"type \[\('a', '<f4'\)\]"),
        (np.full(24, np.nan), r"holds NaN"),
        (np.full(24, np.inf), r"holds infinite values"),
        (np.full(24, 1e39), r"holds infinite values, or values too large for float32"),
    ],
)
def test_npy_that_is_refused(tmp_path, array, message):
    with pytest.raises(InputError, match=message):
        npy(tmp_path, array)


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    with pytest.raises(InputError, match="type object"):
        npy(tmp_path, np.array([Bomb()] * 24, dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="not a NumPy array file"):
        read_npy(tmp_path / "b.npy", TARGET)


def header(text, version=(1, 0)):
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text.encode("latin1")


def described(size):
    return f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size},), }}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"hello", r"not a NumPy array file, or damaged"),
        (header(described("24")) + bytes(95), r"announces 96 bytes of values, but 95 bytes follow"),
        (header(described("24")) + bytes(97), r"announces 96 bytes of values, but more follow"),
        (header(described("1000000000000")), r"holds 1000000000000, expected"),
        (header(described("-24")), r"holds -24, expected"),
        (header(described("9" * 3000)), r"holds 9999.*\.\.\., expected"),
        (header("(" * 3000), r"not a NumPy array file, or damaged"),
        (header("{'descr': '<f4'" + " " * 5000), r"damaged"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", r"damaged"),
        (b"\x93NUMPY\x03\x00\x00\x00\x00\x00", r"format version 3\.0"),
        (header("__import__('os').system('false')"), r"damaged"),
    ],
)
def test_damaged_npy(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_npy(tmp_path / "a.npy", TARGET)


def test_npz_by_input_name(tmp_path, values):
    path = tmp_path / "a.npz"
    targets = {"data": TARGET, "a/ids": INTEGERS}
    ids = np.arange(6)
    for save in (np.savez, np.savez_compressed):
        save(path, **{"data": values[0], "a/ids": ids, "label": np.array(["cat"])})
        got = read_npz(path, targets)
        np.testing.assert_array_equal(got["data"], values)
        np.testing.assert_array_equal(got["a/ids"], ids.reshape(1, 6))
        assert got["a/ids"].dtype == np.int32
    np.savez(path, data=values)
    with pytest.raises(InputError, match=r"a\.npz: holds no array a/ids; its arrays are: data"):
        read_npz(path, targets)
    np.savez(path, data=values[..., 0], **{"a/ids": ids})
    with pytest.raises(InputError, match=r"a\.npz, array 'data\.npy': holds 1x2x3, expected"):
        read_npz(path, targets)


def test_the_only_array_of_an_npz_for_the_only_input(tmp_path, values):
    np.savez(tmp_path / "a.npz", values)
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz", {"data": TARGET})["data"], values)
    np.savez(tmp_path / "a.npz", values, other=values)
    with pytest.raises(InputError, match=r"holds no array data; its arrays are: other, arr_0"):
        read_npz(tmp_path / "a.npz", {"data": TARGET})


def test_npz_of_another_compression(tmp_path, values):
    stream = io.BytesIO()
    np.save(stream, values)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("data.npy", stream.getvalue())
    with pytest.raises(InputError, match=r"a\.npz: 'data\.npy' is compressed as NumPy does not; save it"):
        read_npz(tmp_path / "a.npz", {"data": TARGET})


def test_damaged_npz(tmp_path, values, rng):
    stream = io.BytesIO()
    np.savez_compressed(stream, data=values)
    good = stream.getvalue()
    path = tmp_path / "a.npz"
    for content in (b"PK", good[:50], good[50:], b"x" * 100, good[:-1]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.npz: damaged \.npz file"):
            read_npz(path, {"data": TARGET})
    for _ in range(300):
        data = bytearray(good)
        data[rng.integers(0, len(data))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(data)
        with contextlib.suppress(InputError):
            assert read_npz(path, {"data": TARGET})["data"].shape == (1, 2, 3, 4)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", header(described("24")) + bytes(1 << 26))
    with pytest.raises(InputError, match="announces 96 bytes of values, but more follow"):
        read_npz(path, {"data": TARGET})


def test_integers(tmp_path):
    got = text(tmp_path, b"1 -2 3.0 1e3 2147483647 0", INTEGERS)
    assert got.dtype == np.int32
    assert got.tolist() == [[1, -2, 3, 1000, 2147483647, 0]]
    assert npy(tmp_path, np.arange(6.0), INTEGERS).tolist() == [[0, 1, 2, 3, 4, 5]]
    assert text(tmp_path, b"-128 127", TensorTarget("q", (2,), DataType.INT8)).dtype == np.int8
    for content, message in (
        (b"1 2 3 4 5 6.5", r"holds values that are no integers in -2147483648\.\.2147483647"),
        (b"1 2 3 4 5 2147483648", r"no integers in"),
        (b"1 2 3 4 5 nan", r"no integers in"),
        (b"1 2\n3 4 5 six", r"line 2: 'six' is no number"),
        (b"1 2\n3 4 5 1_0", r"line 2: '1_0' is no number"),
        (b"1 2 3", r"holds 3 numbers, expected 6"),
    ):
        with pytest.raises(InputError, match=message):
            text(tmp_path, content, INTEGERS)
    with pytest.raises(InputError, match="no integers in"):
        npy(tmp_path, np.full(6, 1e20), INTEGERS)


def test_rows_of_a_batch(tmp_path, rng):
    whole = rng.standard_normal((4, 2, 3)).astype(np.float32)
    batch = TensorTarget("x", (4, 2, 3), rows=True)
    cases = [(whole, 4), (whole.reshape(-1), 4), (whole[0], 1), (whole[:1], 1), (whole[0].reshape(-1), 1)]
    for array, rows in cases:
        got = npy(tmp_path, array, batch)
        assert got.shape == (rows, 2, 3)
        np.testing.assert_array_equal(got.reshape(-1), array.reshape(-1))
    assert text(tmp_path, b"1 2 3 4 5 6", batch).shape == (1, 2, 3)
    with pytest.raises(InputError, match="holds 5 numbers, expected 6 or 24"):
        text(tmp_path, b"1 2 3 4 5", batch)
    with pytest.raises(InputError, match="holds 2x3, expected 4x2x3 or 24 for"):
        npy(tmp_path, whole[0], TensorTarget("x", (4, 2, 3)))


def test_text_in_utf_16(tmp_path):
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / "a.txt").write_bytes("\ufeff1 2 3".encode(encoding))
        with pytest.raises(InputError, match=r"a\.txt: is text in UTF-16; save it as UTF-8$"):
            read_text(tmp_path / "a.txt", TensorTarget("x", (1, 3), DataType.FLOAT))
