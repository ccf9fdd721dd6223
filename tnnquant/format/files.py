"""Files on disk: read whole, and written in pairs that are replaced together or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tnnquant.errors import ModelFormatError, OutputError

__all__ = ["PathLike", "read_file", "write_files"]

PathLike = str | os.PathLike
Pieces = Iterable[bytes | memoryview]

_MODE = 0o666
"""Of new files, before the user's umask; a file that is replaced hands on its own."""


def read_file(path: PathLike) -> bytes:
    """The content of a regular file.

    Raises
    ------
    ModelFormatError
        It is not there, not readable, or not a file.
    """
    try:
        # Looked at before it is opened: opening a pipe waits until somebody writes into it.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ModelFormatError(f"{_text(path)} is not a regular file; expected one half of a TNN model")
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except (OSError, ValueError, MemoryError) as error:
        raise ModelFormatError(f"cannot read {_text(path)}: {_reason(error)}") from None


def write_files(files: Sequence[tuple[PathLike, Pieces]]) -> None:
    """Write several files; all are replaced, or none.

    Each content is first written, and forced to the disk, under a temporary name in its target's folder; only when all
    are there are they renamed, one right after the other. A symbolic link is followed, its target replaced.

    Parameters
    ----------
    files : sequence of (path, iterable of bytes-like)

    Raises
    ------
    OutputError
        No such folder, no permission, disk full, a target that is a folder, or the same target twice. Then, and when
        the process is interrupted, the targets are what they were.
    """
    staged: dict[Path, Path] = {}
    current: PathLike = ""
    try:
        for current, pieces in files:
            target = Path(os.path.realpath(current))
            _refuse_target(target, current)
            if target in staged:
                raise OutputError(f"{_text(current)} is given for both files; choose two names")
            staged[target] = _beside(target, "tmp")
            _write_through(staged[target], target, pieces)
        _replace_all(staged)
    except (OSError, ValueError) as error:
        path = getattr(error, "filename2", None) or current
        raise OutputError(f"cannot write {_text(path)}: {_reason(error)}") from None
    finally:
        _remove(staged.values())


def _beside(target: Path, suffix: str) -> Path:
    return target.parent / f".tnnquant-{secrets.token_hex(8)}.{suffix}"


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _refuse_target(target: Path, path: PathLike) -> None:
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {_text(path)}: there is no folder {_text(target.parent)}; create it first")
    if target.exists() and not target.is_file():
        raise OutputError(f"cannot write {_text(path)}: it exists and is not a regular file; choose another name")


def _write_through(path: Path, target: Path, pieces: Pieces) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), _MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
    with suppress(OSError):
        os.chmod(path, stat.S_IMODE(target.stat().st_mode))


def _replace_all(staged: Mapping[Path, Path]) -> None:
    """Rename every staged file to its target; if that fails midway, undo what was done."""
    kept = {target: _beside(target, "old") for target in staged}
    try:
        for target, old in kept.items():
            _keep(target, old)
        for target, source in staged.items():
            os.replace(source, target)
    except BaseException:
        for target, source in staged.items():
            if os.path.lexists(source):
                continue  # not renamed
            if os.path.lexists(kept[target]):
                os.replace(kept[target], target)
            else:
                target.unlink(missing_ok=True)
        raise
    finally:
        _remove(kept.values())
    for folder in {target.parent for target in staged}:
        _sync_folder(folder)


def _keep(target: Path, old: Path) -> None:
    """Give the file that will be replaced, if there is one, a second name; a copy where there are no links."""
    if os.path.lexists(target):
        try:
            os.link(target, old)
        except OSError:
            shutil.copy2(target, old)


def _sync_folder(folder: Path) -> None:
    # Makes the renames durable; not every system lets a folder be opened.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return (getattr(error, "strerror", None) or str(error)).lower()


def _text(path: PathLike) -> str:
    return repr(os.fspath(path))
