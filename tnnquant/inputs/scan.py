"""Which files of a folder are calibration inputs."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from tnnquant.errors import InputError
from tnnquant.inputs.display import count_of, printable

__all__ = ["PICTURES", "SUFFIXES", "TENSORS", "FileList", "scan", "suffix_of"]

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
TENSORS = frozenset({".txt", ".npy", ".npz"})
SUFFIXES = PICTURES | TENSORS
_EXPECTED = "expected .jpg .jpeg .png .bmp pictures or .txt .npy .npz tensors"

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class FileList(Sequence[Path]):
    """Calibration files in a fixed order: by the bytes of their names.

    Attributes
    ----------
    paths : tuple of Path
    notes : list of str
        What else was found, and not used: sub-folders, other files; one line each.
    """

    paths: tuple[Path, ...]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Path, ...]: ...

    def __getitem__(self, index: int | slice) -> Path | tuple[Path, ...]:
        return self.paths[index]

    def __iter__(self) -> Iterator[Path]:
        return iter(self.paths)


def scan(inputs: PathLike | Sequence[PathLike]) -> FileList:
    """List the calibration files of a folder, or check and sort the files of a list.

    Sub-folders are not entered; links are followed; hidden files are skipped. A link that leads nowhere is listed if
    its name is that of an input: reading it then fails with its name, or is counted under ``skip_bad``.

    Parameters
    ----------
    inputs : path or sequence of path
        A folder, one file, or several files.

    Raises
    ------
    InputError
        There is no such folder or file, it cannot be read, or nothing in it is usable.
    """
    if not isinstance(inputs, str | os.PathLike):
        return _check_list([Path(path) for path in inputs])
    folder = Path(inputs)
    try:
        mode = folder.stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(str(folder))}: {_reason(error)}; give a folder of calibration files") from None
    if not stat.S_ISDIR(mode):
        return _check_list([folder])
    return _scan_folder(folder)


def suffix_of(path: PathLike) -> str:
    """What follows the last dot of the name, the dot included, in lower case; empty without a dot."""
    return os.path.splitext(os.fspath(path))[1].lower()


def _scan_folder(folder: Path) -> FileList:
    paths: list[Path] = []
    others: Counter[str] = Counter()
    found: Counter[str] = Counter()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                kind = _kind(entry)
                if kind == "input":
                    paths.append(folder / entry.name)
                elif kind == "other":
                    others[printable(suffix_of(entry.name), 20) or "without suffix"] += 1
                else:
                    found[kind] += 1
    except OSError as error:
        raise InputError(f"{printable(str(folder))}: the folder cannot be listed: {_reason(error)}") from None
    if not paths:
        held = "; ".join(_held(found, others)) or "it is empty"
        raise InputError(f"{printable(str(folder))}: no calibration file: {held}; {_EXPECTED}")
    return FileList(_sorted(paths), _notes(found, others))


def _kind(entry: os.DirEntry) -> str:
    is_input = suffix_of(entry.name) in SUFFIXES
    try:
        if entry.is_dir():
            return "sub-folder"
        if entry.name.startswith("."):
            return "hidden file"
        if entry.is_file():
            return "input" if is_input else "other"
        # A dangling or looping link: is_dir and is_file are false, and so would be a pipe's or a device's.
        if entry.is_symlink() and not os.path.exists(entry.path):
            return "input" if is_input else "other"
    except OSError:
        return "input" if is_input else "other"
    return "device or pipe"


def _held(found: Counter, others: Counter) -> list[str]:
    held = [count_of(number, kind, "devices or pipes" if kind.endswith("pipe") else "")
            for kind, number in sorted(found.items())]  # fmt: skip
    if others:
        ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))
        kinds = ", ".join(f"{number} {suffix}" for suffix, number in ranked[:6]) + (", ..." if len(ranked) > 6 else "")
        held.append(f"{count_of(others.total(), 'other file')} ({kinds})")
    return held


def _notes(found: Counter, others: Counter) -> list[str]:
    notes = []
    if found["sub-folder"]:
        verb = "was" if found["sub-folder"] == 1 else "were"
        notes.append(f"{count_of(found.pop('sub-folder'), 'sub-folder')} {verb} not entered")
    else:
        found.pop("sub-folder", None)
    rest = _held(found, others)
    if rest:
        notes.append(f"not used: {'; '.join(rest)}")
    return notes


def _check_list(paths: list[Path]) -> FileList:
    if not paths:
        raise InputError(f"the list of calibration files is empty; {_EXPECTED}")
    for path in paths:
        shown = printable(str(path))
        if suffix_of(path) not in SUFFIXES:
            raise InputError(f"{shown}: not a calibration file; {_EXPECTED}")
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            raise InputError(f"{shown}: {_reason(error)}") from None
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise InputError(f"{shown}: is {what}, where a calibration file is expected")
    return FileList(_sorted(paths), [])


def _sorted(paths: list[Path]) -> tuple[Path, ...]:
    # By bytes, not by the locale: the same order everywhere. Files of the same name in several folders: by path.
    return tuple(sorted(paths, key=lambda path: (os.fsencode(path.name), os.fsencode(path))))


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
