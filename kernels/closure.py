"""What the machine code of a kernel depends on: its file and the kernel files that it imports, directly or not.

The imports are found in the text, wherever they stand (in a function, in a string). One too many costs time; a missed
one would run stale machine code.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from pathlib import Path

__all__ = ["files_of", "fingerprint", "imported_by"]

_PACKAGE = __package__ or "tnnquant.kernels"
_FOLDER = Path(__file__).resolve().parent
_FROM = re.compile(r"\bfrom\s+([.\w]+)\s+import\s+(\([^)]*\)|(?:[^\n\\]|\\.)*)", re.S)
_IMPORT = re.compile(r"\bimport\s+((?:[^\n\\]|\\.)*)", re.S)
_NAME = re.compile(r"[\w.]+")


@functools.cache
def _source(path: Path) -> bytes:
    """A file's bytes as they are when it is first asked for: once per process, soon after it was imported."""
    return path.read_bytes()


@functools.cache
def _digest(path: Path) -> bytes:
    return hashlib.sha256(_source(path)).digest()


@functools.cache
def imported_by(path: Path) -> frozenset[Path]:
    """The kernel files that a file imports; and, for a file outside the package, the modules beside it."""
    text = _source(path).decode("utf-8", "replace")
    names = set()
    for start, what in _FROM.findall(text):
        start = f"{_PACKAGE}.{start.lstrip('.')}".rstrip(".") if start.startswith(".") else start
        names |= {start, *(f"{start}.{name}" for name in _NAME.findall(what))}
    for what in _IMPORT.findall(text):
        names |= set(_NAME.findall(what))
    return frozenset(found for name in names if (found := _file(name, path.parent)) and found != path)


def _file(name: str, beside: Path) -> Path | None:
    if name.startswith(f"{_PACKAGE}."):
        path = _FOLDER / f"{name[len(_PACKAGE) + 1 :].split('.')[0]}.py"
        return path if path.is_file() else None
    if beside == _FOLDER:
        return None
    file = getattr(sys.modules.get(name), "__file__", None)
    if not file:
        return None
    path = Path(file).resolve()
    return path if path.parent == beside and path.suffix == ".py" else None


@functools.cache
def files_of(path: Path) -> tuple[Path, ...]:
    """A file and what it imports, directly or not, of the kernels; ordered by name.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    found, new = {path}, {path}
    while new:
        new = set().union(*(imported_by(each) for each in new)) - found
        found |= new
    return tuple(sorted(found, key=lambda each: (each.name, each)))


@functools.cache
def fingerprint(path: Path) -> str:
    """A hash of all that :func:`files_of` names: of names and bytes, so that it is the same in every checkout."""
    digest = hashlib.sha256()
    for each in files_of(path):
        digest.update(each.name.encode() + b"\0" + _digest(each))
    return digest.hexdigest()
