"""The .onnx file: read, checked, and taken apart. Whatever is wrong with it becomes an error of one line."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.errors import ModelFormatError
from tnnquant.format.files import PathLike, read_file

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

__all__ = ["SUFFIX", "Weights", "is_onnx_path", "load", "tensor_array"]

SUFFIX = ".onnx"
# The version of the IR is not checked: the opsets decide.
_ADVICE = "export the model to ONNX (torch.onnx.export, tf2onnx, paddle2onnx)"
_FOREIGN = (
    (lambda d: d[4:8] == b"TFL3", "a TensorFlow Lite model", "convert it with `python -m tf2onnx.convert --tflite`"),
    (lambda d: d[:4] == b"PK\x03\x04", "a zip file, as PyTorch (.pt, TorchScript) and Keras write them",
     "load it there and call torch.onnx.export, or tf2onnx for Keras"),
    (lambda d: d[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a Python pickle, as torch.save makes",
     "load it in PyTorch and call torch.onnx.export"),
    (lambda d: d[:8] == b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", "convert it with tf2onnx"),
    (lambda d: d[4:8] == b"ORTM", "a model in onnxruntime's own format (.ort)", "use the .onnx that it was made from"),
    (lambda d: d[:1] in (b"{", b"<"), "a text file", _ADVICE),
    (lambda d: d.startswith(b"version https://git-lfs"), "a pointer of Git LFS", "fetch the file with `git lfs pull`"),
    (lambda d: d.startswith((b'"1 ', b"7767517")), "a text of another format (TNN, ncnn)", _ADVICE),
)  # fmt: skip


def is_onnx_path(path: PathLike | None) -> bool:
    """Whether a path names an ONNX model, by its suffix."""
    return path is not None and os.fsdecode(path).lower().endswith(SUFFIX)


def load(source: PathLike | bytes | ModelProto) -> tuple[ModelProto, Weights, str]:
    """An ONNX model, the elements of its tensors, and its name for messages.

    Parameters
    ----------
    source : path, bytes or onnx.ModelProto

    Raises
    ------
    ModelFormatError
        No such file, another kind of file, truncated, or without a graph; an operator set that the installed ``onnx``
        does not know.
    """
    from onnx import ModelProto, defs

    name, folder = "the ONNX model", None
    if isinstance(source, ModelProto):
        proto = source
    else:
        if isinstance(source, bytes):
            data = source
        else:
            name, folder = os.fsdecode(source), Path(source).parent
            data = read_file(source)
        proto = _parsed(data, name)
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise ModelFormatError(f"{name}: there is no graph in it, expected an ONNX model; {_ADVICE}")
    if not proto.opset_import:
        raise ModelFormatError(
            f"{name}: it names no operator set (opset_import), expected at least one; export it again"
        )
    known = defs.onnx_opset_version()
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version > known:
            raise ModelFormatError(
                f"{name}: its operators are of opset {entry.version}; the installed onnx package knows up to {known}: "
                f"upgrade it (pip install -U onnx), or export with opset {known} or older"
            )
    return proto, Weights(folder, name), name

#: Operators that begin a TensorFlow graph, and how far one looks for them.
_TENSORFLOW, _LOOKED_AT = (b"Placeholder", b"VarHandleOp"), 1 << 16


def _parsed(data: bytes, name: str) -> ModelProto:
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    for matches, what, advice in _FOREIGN:
        if matches(data):
            raise ModelFormatError(f"{name}: this is {what}, expected an ONNX model; {advice}")
    if not data:
        raise ModelFormatError(f"{name}: the file is empty, expected an ONNX model; export it again")
    try:
        proto: ModelProto = ModelProto.FromString(data)
        return proto
    except (DecodeError, RecursionError, ValueError) as error:
        is_graph = name.endswith(".pb") or any(word in data[:_LOOKED_AT] for word in _TENSORFLOW)
        advice = "truncated? Copy or export it again"
        if is_graph:
            advice = "a TensorFlow graph (.pb)? Convert it with tf2onnx"
        raise ModelFormatError(
            f"{name}: it cannot be read as an ONNX model ({' '.join(str(error).split())[:100]}); {advice}"
        ) from None


def tensor_array(tensor: TensorProto, what: str) -> np.ndarray:
    """The elements of a tensor that lie in the model itself.

    float16 and bfloat16 keep their type where NumPy has it; other small floats are widened to float32.

    Raises
    ------
    ModelFormatError
        Its size is not that of its dims, or its type is none of numbers.
    """
    from onnx import TensorProto, helper, numpy_helper

    dims = tuple(int(d) for d in tensor.dims)
    if any(d < 0 for d in dims) or len(dims) > 32:
        raise ModelFormatError(f"{what}: its dims are {list(dims)[:40]}, expected at most 32, none negative")
    if tensor.data_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        raise ModelFormatError(f"{what}: its elements are no numbers (type {tensor.data_type})")
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise ModelFormatError(
            f"{what}: its type {tensor.data_type} is unknown to the installed onnx package"
        ) from None
    if tensor.HasField("raw_data"):
        held = len(tensor.raw_data)
    else:
        held = sum(
            len(field)
            for field in (
                tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data
            )
        ) * 16  # fmt: skip
    if prod(dims) > max(held, 0) * 2 or (
        tensor.HasField("raw_data") and dtype.itemsize > 1 and prod(dims) * dtype.itemsize != held
    ):
        raise ModelFormatError(
            f"{what}: dims {list(dims)} ask for {prod(dims)} elements of {dtype}, it holds {held} bytes"
        )
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ModelFormatError(f"{what}: its elements cannot be read ({' '.join(str(error).split())[:100]})") from None
    return _plain(array).reshape(dims)


def _plain(array: np.ndarray) -> np.ndarray:
    """The array in a type of NumPy's own: the small floats and integers of ml_dtypes are widened."""
    if array.dtype.kind in "fiub" and array.dtype.isbuiltin == 1:
        return array
    if array.dtype.names:  # what old versions of onnx make of bfloat16
        array = array[array.dtype.names[0]]
    return array.astype(np.int8 if "int" in array.dtype.name else np.float32)


class Weights:
    """Finds the elements of tensors, also of those that lie in files beside the model.

    Parameters
    ----------
    folder : Path or None
        Where the model lies; None: it does not lie in a file.
    name : str
        Of the model, for messages.

    Attributes
    ----------
    bytes : int
        Of the elements found so far.
    """

    def __init__(self, folder: Path | None, name: str):
        self._folder, self._name = folder, name
        self.bytes = 0

    def array(self, tensor: TensorProto) -> np.ndarray:
        """The elements of an initializer.

        Raises
        ------
        ModelFormatError
            Its data is missing, lies outside the model's folder, or is of another size.
        """
        from onnx import TensorProto

        what = f"{self._name}: initializer {tensor.name!r}"
        is_beside = tensor.data_location == TensorProto.EXTERNAL
        array = self._external(tensor, what) if is_beside else tensor_array(tensor, what)
        self.bytes += array.nbytes
        return array

    def _external(self, tensor: TensorProto, what: str) -> np.ndarray:
        from onnx import helper

        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        path = self._inside(location, what)
        dims = tuple(int(d) for d in tensor.dims)
        try:
            offset, length = int(entries.get("offset") or 0), int(entries.get("length") or -1)
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ModelFormatError(f"{what}: its offset, length or type is unusable: {entries}") from None
        wanted = prod(dims) * dtype.itemsize
        if any(d < 0 for d in dims) or offset < 0 or length not in (-1, wanted):
            raise ModelFormatError(f"{what}: dims {list(dims)} of {dtype} take {wanted} bytes, its entry says {length}")
        try:
            size = path.stat().st_size
            if offset + wanted > size:
                raise ModelFormatError(
                    f"{what}: it ends at byte {offset + wanted} of {location!r}, which has {size}: truncated?"
                )
            array = np.fromfile(path, dtype, prod(dims), offset=offset)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ModelFormatError(
                f"{what}: its data lies in {location!r} beside the model, which cannot be read ({reason}); copy that "
                "file too, or export the model into one file"
            ) from None
        return _plain(array).reshape(dims)

    def _inside(self, location: str, what: str) -> Path:
        if self._folder is None:
            raise ModelFormatError(f"{what}: its data lies in another file; give the model as a path, not as bytes")
        path = Path(os.path.normpath(self._folder / location))
        root = self._folder.resolve()
        is_inside = location and not os.path.isabs(location) and path.resolve().is_relative_to(root)
        if not is_inside or "\0" in location:
            raise ModelFormatError(
                f"{what}: its data is said to lie in {location!r}, outside the model's folder; only files beside the "
                "model are read"
            )
        return path


def element_type(code: int, what: str) -> Any:
    """NumPy's type of an ONNX element type; small floats are float32."""
    from onnx import TensorProto, helper

    if code in (TensorProto.BFLOAT16, TensorProto.FLOAT16, TensorProto.DOUBLE):
        return np.dtype(np.float32)
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(code))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise ModelFormatError(f"{what} has the element type {code}, which is none of numbers") from None
    if dtype.kind not in "fiub" or dtype.isbuiltin != 1:
        raise ModelFormatError(f"{what} is of {TensorProto.DataType.Name(code)}, which TNN cannot take as an input")
    return dtype
