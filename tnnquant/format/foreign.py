"""Guess what a file is that is no TNN model, so that the error can say so."""

from __future__ import annotations

from tnnquant.format.constants import MAGIC_V1, MAGIC_V2, PROTO_START

__all__ = ["BINARY", "TEXT", "looks_like"]

TEXT = "text"
BINARY = "binary data of another kind"

_SWAPPED = "were the two files swapped?"
_EXPORT = "tnnquant reads ONNX: load the model where it is from, and export it"
_TF2ONNX = "tnnquant reads ONNX: `python -m tf2onnx.convert --tflite FILE --output net.onnx` makes one of it"

# By the first bytes; the offset at which they stand.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, MAGIC_V2.to_bytes(4, "little"), f"a .tnnmodel: {_SWAPPED}"),
    (0, MAGIC_V1.to_bytes(4, "little"), f"a .tnnmodel: {_SWAPPED}"),
    (0, PROTO_START, f"a .tnnproto: {_SWAPPED}"),
    (4, b"TFL3", f"a TensorFlow Lite model: {_TF2ONNX}"),
    (0, b"PK\x03\x04", f"a ZIP archive (a PyTorch, Keras or NumPy file?): {_EXPORT}"),
    (0, b"\x1f\x8b", "a gzip archive: unpack it first"),
    (0, b"BZh", "a bzip2 archive: unpack it first"),
    (0, b"\xfd7zXZ\x00", "an xz archive: unpack it first"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive: unpack it first"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"\x89HDF", f"an HDF5 file (Keras?): {_EXPORT}"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x7fELF", "a program"),
    (0, b"7767517", "an ncnn .param file: tnnquant reads ONNX: give the model that it was converted from"),
    (0, b"<?xml", "an XML file (OpenVINO?): tnnquant reads ONNX: give the model that it was converted from"),
    (0, b"<!DOCTYPE", "an HTML page: did the download fail?"),
    (0, b"<html", "an HTML page: did the download fail?"),
    (0, b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (0, b"\xff\xfe", "text in UTF-16: save it as UTF-8"),
    (0, b"\xfe\xff", "text in UTF-16: save it as UTF-8"),
    (0, b"\x80\x02", f"a Python pickle (PyTorch?): {_EXPORT}"),
    (0, b"\x80\x03", f"a Python pickle (PyTorch?): {_EXPORT}"),
    (0, b"\x80\x04", f"a Python pickle (PyTorch?): {_EXPORT}"),
    (0, b"\x80\x05", f"a Python pickle (PyTorch?): {_EXPORT}"),
    (8, b'{"', f"a safetensors file, weights without a network: {_EXPORT}"),
)

_EXAMINED = 512
_BLANKS = frozenset(b"\t\n\r")


def looks_like(data: bytes) -> str:
    """What the bytes look like, with what to do about it; ``TEXT`` or ``BINARY`` if nothing else comes to mind.

    Parameters
    ----------
    data : bytes
        The beginning of the file is enough.
    """
    start = bytes(data[:_EXAMINED])
    if not start:
        return "an empty file"
    for offset, signature, description in _SIGNATURES:
        if start[offset : offset + len(signature)] == signature:
            return description
    if _is_onnx(start):
        return "an ONNX model: give its file a name that ends in .onnx, and tnnquant reads it"
    if _is_text(start):
        if b"layer {" in start or b"layer{" in start or start.startswith(b"name:"):
            return f"a Caffe prototxt: {_EXPORT}"
        return "JSON" if start.lstrip()[:1] in (b"{", b"[") else TEXT
    return BINARY


def _is_onnx(start: bytes) -> bool:
    # ModelProto: field 1 (ir_version, a small varint), then field 2 (producer_name) or 8 (opset) or 7 (graph).
    return len(start) > 3 and start[0] == 0b1000 and 0 < start[1] < 32 and start[2] in (0b10010, 0b1000010, 0b111010)


def _is_text(start: bytes) -> bool:
    return all((byte >= ord(" ") and byte != 127) or byte in _BLANKS for byte in start)
