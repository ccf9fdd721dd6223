"""Reading .txt, .npy and .npz files as the values of a model input, exactly as they are: no mean, no scale.

A file holds the whole input, or its dims without the first one where that is 1 (or where samples are packed into
batches, see :mod:`~tnnquant.inputs.samples`), or the same number of values in a row. NCHW order, as TNN.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.errors import InputError
from tnnquant.inputs.display import count_of, printable, quoted
from tnnquant.inputs.files import open_input, reason_of

__all__ = ["TensorTarget", "read_npy", "read_npz", "read_text"]

#: Bytes of text that a number may take with the white space around it, on average.
_TEXT_BYTES = 64
_SLACK = 1 << 16
_LONGEST_TOKEN = 1000
#: Bytes of a value in the widest accepted type (longdouble).
_WIDEST = 16
#: The header of a .npy file, with room for any array that is not structured.
_HEADER_BYTES = 4096


@dataclass(frozen=True)
class TensorTarget:
    """What a file's values are for.

    Attributes
    ----------
    name : str
        Of the model input.
    dims : tuple of int
    dtype : DataType or None
        INT32 and INT8 inputs take integers; all others are float32.
    rows : bool
        Whether a file may hold a single row ``dims[1:]`` of the batch although ``dims[0]`` is not 1.
    """

    name: str
    dims: tuple[int, ...]
    dtype: DataType | None = DataType.FLOAT
    rows: bool = False

    @property
    def numpy(self) -> np.dtype:
        """float32, int32 or int8."""
        return np.dtype(self.dtype.numpy if self.dtype in (DataType.INT32, DataType.INT8) else np.float32)

    def __str__(self) -> str:
        return f"the model input {quoted(self.name)} ({'x'.join(map(str, self.dims))})"

    def shapes(self) -> dict[tuple[int, ...], tuple[int, ...]]:
        """Accepted shapes, and what each becomes: ``dims``, or ``(1, *dims[1:])`` for a single row."""
        row = (1, *self.dims[1:])
        accepted = {self.dims: self.dims, (prod(self.dims),): self.dims}
        if len(self.dims) > 1 and (self.rows or self.dims[0] == 1):
            accepted.setdefault(self.dims[1:], row)
            accepted.setdefault(row, row)
            accepted.setdefault((prod(row),), row)
        return accepted

    def place(self, values: np.ndarray, where: str) -> np.ndarray:
        """``values`` in the shape and type of the input, checked.

        Raises
        ------
        InputError
            Another shape; NaN, infinity, or values that the type cannot hold.
        """
        return _converted(values, self, where).reshape(self.check_shape(values.shape, where))

    def check_shape(self, shape: tuple[int, ...], where: str) -> tuple[int, ...]:
        """What a shape becomes; raises InputError if it is none of those accepted."""
        accepted = self.shapes()
        if shape in accepted:
            return accepted[shape]
        got = printable("x".join(map(str, shape)), 60) or "a single value"
        expected = " or ".join("x".join(map(str, shape)) for shape in list(accepted)[:3])
        raise InputError(f"{where}: holds {got}, expected {expected} for {self}")


def read_text(path: Path, target: TensorTarget) -> np.ndarray:
    """Numbers separated by white space, in NCHW order.

    Raises
    ------
    InputError
        Unreadable; something that is no finite number (its line is named); too few or too many of them.
    """
    where = printable(str(path))
    file, size = open_input(path)
    most = _TEXT_BYTES * prod(target.dims) + _SLACK
    with file:
        if size > most:
            raise InputError(f"{where}: {size} bytes are too many for the {prod(target.dims)} numbers of {target}")
        text = file.read(most + 1).removeprefix(b"\xef\xbb\xbf")
    counts = sorted({prod(shape) for shape in target.shapes()})
    values = _floats(text, counts, where) if target.numpy == np.float32 else _numbers(text, where)
    if values.size not in counts:
        expected = " or ".join(map(str, counts))
        raise InputError(f"{where}: holds {count_of(values.size, 'number')}, expected {expected} for {target}")
    return target.place(values, where)


def read_npy(path: Path, target: TensorTarget) -> np.ndarray:
    """The array of a .npy file.

    Raises
    ------
    InputError
        Unreadable or damaged; not of integers or floats; of another shape.
    """
    file, _ = open_input(path)
    with file:
        return _read_array(file, target, printable(str(path)))


def read_npz(path: Path, targets: Mapping[str, TensorTarget]) -> dict[str, np.ndarray]:
    """Arrays of a .npz file by model input; for a model of one input its only array may have any name.

    Raises
    ------
    InputError
        Unreadable or damaged; an input has no array; or see :func:`read_npy`.
    """
    where = printable(str(path))
    file, size = open_input(path)
    with file:
        most = sum(2 * _WIDEST * prod(target.dims) for target in targets.values()) + (16 << 20)
        if size > most:
            raise InputError(f"{where}: {size} bytes are too many for the inputs of the model")
        try:
            with zipfile.ZipFile(file) as archive:
                return _read_members(archive, targets, where)
        except InputError:
            raise
        except Exception as error:  # zipfile and zlib raise a dozen kinds
            raise InputError(f"{where}: damaged .npz file: {reason_of(error)}") from None


def _read_members(archive: zipfile.ZipFile, targets: Mapping[str, TensorTarget], where: str) -> dict[str, np.ndarray]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if len(targets) == 1 == len(members):
        members = dict(zip(targets, members.values(), strict=True))
    missing = [name for name in targets if name not in members]
    if missing:
        held = ", ".join(printable(name, 40) for name in list(members)[:8]) + (", ..." if len(members) > 8 else "")
        wanted = ", ".join(printable(name, 40) for name in missing)
        raise InputError(f"{where}: holds no array {wanted}; its arrays are: {held or 'none'}")
    arrays = {}
    for name, target in targets.items():
        info = members[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # The others may ask for gigabytes of working memory.
            raise InputError(f"{where}: {quoted(info.filename)} is compressed as NumPy does not; save it with np.savez")
        with archive.open(info) as member:
            arrays[name] = _read_array(member, target, f"{where}, array {quoted(info.filename)}")
    return arrays


def _read_array(file: IO[bytes], target: TensorTarget, where: str) -> np.ndarray:
    """An array in NumPy's file format; shape and type are checked before the values are read."""
    # NumPy asks the file for as many bytes as the header claims to have; the beginning cannot give more than it is.
    head = io.BytesIO(file.read(_HEADER_BYTES))
    try:
        version = np.lib.format.read_magic(head)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format version {version[0]}.{version[1]}")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(head, max_header_size=_HEADER_BYTES)
    except Exception as error:  # the header is Python source
        raise InputError(f"{where}: not a NumPy array file, or damaged: {reason_of(error)}") from None
    if dtype.hasobject or dtype.kind not in "fiu":
        raise InputError(f"{where}: holds values of type {printable(str(dtype), 40)}, expected integers or floats")
    target.check_shape(shape, where)
    wanted = prod(shape) * dtype.itemsize
    data = head.read()
    data += file.read(max(0, wanted + 1 - len(data)))
    if len(data) != wanted:
        held = "more" if len(data) > wanted else f"{len(data)} bytes"
        raise InputError(f"{where}: its header announces {wanted} bytes of values, but {held} follow")
    values = np.frombuffer(data, dtype)
    return target.place(values.reshape(shape, order="F" if is_fortran else "C"), where)


def _floats(text: bytes, counts: list[int], where: str) -> np.ndarray:
    """float32, correctly rounded; a wrong number of them is left for the caller to report."""
    from tnnquant.kernels.text import POWERS_OF_TEN, parse_f32

    out = np.empty(counts[-1], np.float32)
    unsure = np.empty((counts[-1], 2), np.int64)
    info = np.zeros(3, np.int64)
    parse_f32(np.frombuffer(text, np.uint8), POWERS_OF_TEN, out, unsure, info)
    count, bad, left = info.tolist()
    if bad >= 0:
        raise _bad_token(text, bad, where)
    for place, start in unsure[:left].tolist():
        out[place] = _nearest_float32(text, start, where)
    if count > out.size:
        raise InputError(f"{where}: holds {count} numbers, expected {' or '.join(map(str, counts))}")
    return out[:count]


def _numbers(text: bytes, where: str) -> np.ndarray:
    """float64, for integer inputs, which are few."""
    tokens = text.split()
    try:
        if b"_" not in text:
            return np.fromiter(map(float, tokens), np.float64, len(tokens))
    except ValueError:
        pass
    start = 0
    for token in tokens:
        start = text.index(token, start)
        try:
            if b"_" not in token:
                float(token)
                start += len(token)
                continue
        except ValueError:
            pass
        raise _bad_token(text, start, where)
    raise AssertionError("one of the tokens is no number")


def _token(text: bytes, start: int) -> bytes:
    # A token of any length may come; that it is no reasonable number is seen from its beginning.
    return text[start : start + _LONGEST_TOKEN].split(maxsplit=1)[0]


def _bad_token(text: bytes, start: int, where: str) -> InputError:
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        return InputError(f"{where}: is text in UTF-16; save it as UTF-8")
    token = _token(text, start)
    shown = quoted(token.decode("utf-8", "backslashreplace"), 40)
    line = text.count(b"\n", 0, start) + 1
    bare = token.lower().lstrip(b"+-")
    if bare.startswith((b"nan", b"inf")):
        return InputError(f"{where}, line {line}: {shown}, expected finite numbers")
    hint = "; separate numbers by spaces or line ends" if b"," in token or b";" in token else ""
    return InputError(f"{where}, line {line}: {shown} is no number{hint}")


def _nearest_float32(text: bytes, start: int, where: str) -> np.float32:
    """The float32 next to a decimal number, by exact arithmetic where float64 might mislead."""
    token = _token(text, start)
    if len(token) == _LONGEST_TOKEN:
        raise _bad_token(text, start, where)
    value = float(token)
    with np.errstate(over="ignore", under="ignore"):
        nearest = np.float32(value)
    if not np.isfinite(nearest):
        line = text.count(b"\n", 0, start) + 1
        raise InputError(f"{where}, line {line}: {quoted(token.decode(), 40)} is too large for float32")
    if value == 0 or len(token) > 64:
        return nearest
    exact = Fraction(token.decode())
    with np.errstate(over="ignore", under="ignore"):
        around = [nearest, *(np.nextafter(nearest, np.float32(limit)) for limit in (-np.inf, np.inf))]
    # Ties go to the even one of the two, whose last bit is 0.
    finite = [candidate for candidate in around if np.isfinite(candidate)]
    return min(finite, key=lambda c: (abs(Fraction(float(c)) - exact), int(c.view(np.uint32)) & 1))


def _converted(values: np.ndarray, target: TensorTarget, where: str) -> np.ndarray:
    """C-contiguous values of the target's type."""
    with np.errstate(over="ignore", invalid="ignore"):
        out = np.array(values, target.numpy, order="C")
    if target.numpy == np.float32:
        if not np.isfinite(out).all():
            what = "NaN" if np.isnan(out).any() else "infinite values, or values too large for float32"
            raise InputError(f"{where}: holds {what}, expected finite numbers for {target}")
        return out
    if values.dtype == out.dtype or np.array_equal(values, out):
        return out
    limits = np.iinfo(target.numpy)
    raise InputError(
        f"{where}: holds values that are no integers in {limits.min}..{limits.max}, which {target} takes"
    )
