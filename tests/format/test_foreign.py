"""Files that are no TNN model are named for what they look like, in one line."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from tnnquant.errors import ModelFormatError
from tnnquant.format import read_model
from tnnquant.format.foreign import looks_like

PROTO = b'"1 2 1 4206624772 ,"\n"x 4 1 3 8 8 0 ,"\n" x y ,"\n"y ,"\n" 1 ,"\n"Softmax s 1 1 x y 1 ,"\n'
MODEL = b"\x04\x00\xbc\xfa\x00\x00\x00\x00"


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"x" * 100)
    return buffer.getvalue()


def npy_file() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


FOREIGN = {
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x031.9:\xff\x01\x0a" + bytes(range(256)), "an ONNX model: give its"),
    "ONNX without producer": (b"\x08\x0aB\x02\x10\x11:" + bytes(300), "an ONNX model"),
    "TensorFlow Lite": (struct.pack("<i", 28) + b"TFL3" + bytes(64), "a TensorFlow Lite model: tnnquant reads"),
    "zip": (zip_file(), "a ZIP archive"),
    "gzip": (gzip.compress(PROTO), "a gzip archive: unpack it"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG picture"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), "a JPEG picture"),
    "npy": (npy_file(), "a NumPy array"),
    "pickle": (pickle.dumps({"a": 1}, protocol=4), "a Python pickle"),
    "safetensors": (struct.pack("<Q", 99) + b'{"a":{"dtype":"F32"}}' + bytes(99), "a safetensors file"),
    "html": (b"<!DOCTYPE html><html></html>", "an HTML page: did the download fail"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
    "prototxt": (b'name: "SqueezeNet"\nlayer {\n  name: "data"\n}\n', "a Caffe prototxt: tnnquant reads ONNX"),
    "ncnn": (b"7767517\n75 83\nInput data 0 1 data\n", "an ncnn .param file"),
    "json": (b'{"a": [1, 2, 3, 4, 5, 6, 7]}', "JSON"),
    "utf-16": (PROTO.decode().encode("utf-16"), "text in UTF-16"),
    "empty": (b"", "an empty file"),
}


@pytest.fixture
def pair(tmp_path):
    """Writes a pair of files and reads it as a model."""

    def read(proto: bytes, model: bytes):
        (tmp_path / "m.tnnproto").write_bytes(proto)
        (tmp_path / "m.tnnmodel").write_bytes(model)
        return read_model(tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")

    return read


def test_the_pair_itself_is_fine(pair):
    assert [node.name for node in pair(PROTO, MODEL).nodes] == ["s"]


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_proto(pair, kind):
    data, guess = FOREIGN[kind]
    with pytest.raises(ModelFormatError, match=r"m\.tnnproto: line \d: .*it looks like " + guess) as caught:
        pair(data, MODEL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_model(pair, kind):
    data, guess = FOREIGN[kind]
    with pytest.raises(ModelFormatError, match=r"m\.tnnmodel: byte \d+: .*" + guess) as caught:
        pair(PROTO, data)
    assert "\n" not in str(caught.value)


def test_text_and_noise():
    assert looks_like(b"hello\nworld") == "text"
    assert looks_like("Grüße".encode()) == "text"
    assert looks_like(bytes(range(99, 255)) + bytes(10)) == "binary data of another kind"


def test_swapped(pair):
    with pytest.raises(ModelFormatError, match=r"m\.tnnproto: line 1: .*looks like a \.tnnmodel: were the two"):
        pair(MODEL, PROTO)
    with pytest.raises(ModelFormatError, match=r"m\.tnnmodel: byte 0: .*looks like a \.tnnproto: were the two"):
        pair(PROTO, PROTO)


def test_text_where_binary_is_expected(pair):
    with pytest.raises(ModelFormatError, match=r"byte 0: expected a number of resources below .*looks like text$"):
        pair(PROTO, b"these are the weights: 1 2 3\n" * 5)


def test_a_binary_with_commas_is_no_proto(pair, rng):
    with pytest.raises(ModelFormatError, match=r"line 1: .*looks like binary data of another kind"):
        pair(b"\x00" + rng.integers(0, 256, 100_000, np.uint8).tobytes() + b"," * 20, MODEL)
