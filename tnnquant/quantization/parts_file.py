"""The file of a :class:`~tnnquant.quantization.parts.Part`: an .npz of plain arrays, with a header in JSON and a
checksum.

``header`` (uint8) is UTF-8 JSON; ``s<blob number>.<key>`` are the arrays of the observers, numbered in the order of the
header's ``blobs``. Nothing in it is executed; sizes are checked before they are believed.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tnnquant.errors import InputError
from tnnquant.format.files import write_files
from tnnquant.inputs.display import printable
from tnnquant.inputs.files import open_input, reason_of
from tnnquant.quantization.parts import Part

__all__ = ["dump_part", "load_part", "read_part", "write_part"]

_VERSION = 2
_HEADER_LIMIT = 64 << 20
#: Bytes that one array may take: the histograms of 65536 channels and some more.
_ARRAY_LIMIT = 1 << 31
#: What an archive may expand to, relative to its own size; histograms compress well, but not more than this.
_RATIO = 1100
_FIELDS = ("model", "settings", "number", "passes", "samples", "base", "expected", "notes", "skipped")


def write_part(part: Part, path: str | os.PathLike) -> None:
    """Write a part; the file is replaced only when it is whole. Raises OutputError if that fails."""
    write_files([(path, [dump_part(part)])])


def dump_part(part: Part) -> bytes:
    """The bytes of a part's file; the same part gives the same bytes."""
    blobs = sorted(part.states)
    header = {"tnnquant statistics": _VERSION, "digest": part.digest(), "blobs": blobs}
    header |= {name: getattr(part, name) for name in _FIELDS}
    text = json.dumps(header, sort_keys=True, default=list).encode()
    # Any, not ndarray: NumPy 2 has an option among the names that the arrays may have, and its types are held to it.
    arrays: dict[str, Any] = {"header": np.frombuffer(text, np.uint8)}
    for number, blob in enumerate(blobs):
        for key, array in sorted(part.states[blob].items()):
            arrays[f"s{number}.{key}"] = np.asarray(array)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def read_part(path: str | os.PathLike) -> Part:
    """Read a part.

    Raises
    ------
    InputError
        No such file, or it is damaged, foreign, or of another version.
    """
    file, _ = open_input(Path(path))
    with file:
        return load_part(file.read(), printable(str(path)))


def load_part(data: bytes, name: str) -> Part:
    """A part from the bytes of its file; ``name`` is for messages.

    Raises
    ------
    InputError
        They are damaged, foreign, or of another version.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            header = _header(archive, len(data), name)
            states = _states(archive, header["blobs"], len(data))
        part = _part(header, states, name)
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib, NumPy and JSON raise a dozen kinds
        raise InputError(f"{name}: no statistics file, or damaged: {reason_of(error)}") from None
    if part.digest() != header["digest"]:
        raise InputError(f"{name}: damaged: its checksum is not that of its content")
    return part


def _header(archive: zipfile.ZipFile, size: int, name: str) -> Mapping:
    header = json.loads(_array(archive, "header.npy", min(_HEADER_LIMIT, _RATIO * size)).tobytes())
    version = header.get("tnnquant statistics") if isinstance(header, dict) else None
    if not isinstance(header, dict) or version != _VERSION:
        raise InputError(f"{name}: is of version {printable(str(version), 20)}, this tnnquant reads version {_VERSION}")
    return header


def _part(header: Mapping, states: Mapping, name: str) -> Part:
    settings = {str(key): str(value) for key, value in header["settings"].items()}
    number, passes = int(header["number"]), int(header["passes"])
    if not 0 <= number < passes < 10:
        raise ValueError(f"pass {number + 1} of {passes}")
    samples, expected, notes, skipped = (
        tuple(map(str, header[key])) for key in ("samples", "expected", "notes", "skipped")
    )
    return Part(
        name, str(header["model"]), settings, number, passes, states,
        base=str(header["base"]), samples=samples, expected=expected, notes=notes, skipped=skipped,
    )  # fmt: skip


def _states(archive: zipfile.ZipFile, blobs: list, size: int) -> dict[str, dict[str, np.ndarray]]:
    names = [str(blob) for blob in blobs]
    states: dict[str, dict[str, np.ndarray]] = {blob: {} for blob in names}
    left = _RATIO * size
    for info in archive.infolist():
        if info.filename == "header.npy":
            continue
        number, _, key = info.filename.removesuffix(".npy").removeprefix("s").partition(".")
        array = _array(archive, info.filename, min(_ARRAY_LIMIT, left))
        left -= array.nbytes
        states[names[int(number)]][key] = array
    return states


def _array(archive: zipfile.ZipFile, member: str, limit: int) -> np.ndarray:
    """An array of numbers of at most ``limit`` bytes."""
    info = archive.getinfo(member)
    if info.file_size > limit + 4096:
        raise ValueError(f"{printable(member)} announces {info.file_size} bytes")
    with archive.open(info) as file:
        data = file.read(limit + 4097)
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"array format {version}")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=4096)
    if dtype.hasobject or dtype.kind not in "fiu" or (is_fortran and len(shape) > 1):
        raise ValueError(f"{printable(member)} holds {dtype}")
    content = data[stream.tell() :]
    return np.frombuffer(content, dtype).reshape(shape).copy()
