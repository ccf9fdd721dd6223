"""Files on disk: read whole, and written in pairs that are replaced together or not at all.

No system renames two files at once. While a pair is replaced, a *journal* lies beside it, which says under what names
the new contents wait; whoever is killed in between leaves it behind, and :func:`refuse_mixed` tells the mixed pair from
an old or a new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tnnquant.base import interrupt
from tnnquant.errors import ModelFormatError, OutputError

__all__ = ["PathLike", "read_file", "refuse_inputs", "refuse_mixed", "write_files"]

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


def refuse_inputs(outputs: Iterable[PathLike], inputs: Iterable[PathLike]) -> None:
    """Raise OutputError if a file to be written is one that is read, under whatever name: a link, other upper case.

    Parameters
    ----------
    outputs, inputs : iterable of path
        Those that do not exist are passed over.
    """
    read: dict[tuple[int, int], PathLike] = {}
    for path in inputs:
        with suppress(OSError, ValueError):
            found = os.stat(path)
            read[found.st_dev, found.st_ino] = path
    for path in outputs:
        with suppress(OSError, ValueError):
            found = os.stat(path)
            if (found.st_dev, found.st_ino) in read:
                other = read[found.st_dev, found.st_ino]
                also = "" if os.fspath(other) == os.fspath(path) else f", which is the same file as {_text(path)}"
                raise OutputError(f"would overwrite its own input {_text(other)}{also}; choose another output")


def write_files(files: Sequence[tuple[PathLike, Pieces]]) -> None:
    """Write several files; all are replaced, or none.

    Each content is first written, and forced to the disk, under a temporary name in its target's folder; only when all
    are there are they renamed, one right after the other; two processes that replace files in a folder take turns. A
    symbolic link is followed, its target replaced. A process that is killed leaves files named ``.tnnquant-*`` behind;
    those of the same targets are removed by the next run.

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
        interrupt.check()
        with _turn_in(target.parent for target in staged):
            _clear_journal(list(staged))
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
    journal = _journal(list(staged))
    try:
        for target, old in kept.items():
            _keep(target, old)
        if len(staged) > 1:
            _write_journal(journal, staged, kept)
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
        for folder in {target.parent for target in staged}:
            _sync_folder(folder)
        # The journal last: without it, nobody would know whose the others are.
        _remove([*kept.values(), journal])


def refuse_mixed(paths: Sequence[PathLike]) -> None:
    """Raise ModelFormatError if a run was killed when it had replaced some of these files and not the others.

    The files are given in the order in which they were written.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    waiting = [target.parent / new for target, new in zip(targets, _journalled(targets, "new"), strict=False)]
    there = [os.path.lexists(path) for path in waiting]
    if not any(there) or all(there):
        return  # all are new, or all are old
    position = there.index(True)
    raise ModelFormatError(
        f"{_text(paths[0])} and {_text(paths[-1])} do not belong together: a run was killed while it replaced them (or "
        f"is at it right now); run it again, or rename {_text(waiting[position])} to {_text(targets[position])}"
    )


def _journal(targets: Sequence[Path]) -> Path:
    names = "\0".join(os.fspath(target) for target in targets).encode("utf-8", "surrogateescape")
    return targets[0].parent / f".tnnquant-{hashlib.sha256(names).hexdigest()[:16]}.journal"


def _write_journal(journal: Path, staged: Mapping[Path, Path], kept: Mapping[Path, Path]) -> None:
    names = {"new": [path.name for path in staged.values()], "old": [path.name for path in kept.values()]}
    # Complete under its name, or not there at all.
    draft = _beside(journal, "draft")
    try:
        draft.write_text(json.dumps(names), encoding="ascii")
        os.rename(draft, journal)  # it is not there: it has just been cleared
    finally:
        _remove([draft])


def _journalled(targets: Sequence[Path], which: str) -> list[str]:
    """Names in the journal of a run that was killed; none without one."""
    try:
        names = list(json.loads(_journal(targets).read_text(encoding="ascii"))[which])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    # Plain names of ours, whoever wrote the journal.
    return [name for name in names if isinstance(name, str) and name.startswith(".tnnquant-") and os.sep not in name]


def _clear_journal(targets: Sequence[Path]) -> None:
    """Remove what a killed run left of these targets; they are about to be replaced."""
    for which in ("new", "old"):
        _remove(target.parent / name for target, name in zip(targets, _journalled(targets, which), strict=False))
    _remove([_journal(targets)])


@contextmanager
def _turn_in(folders: Iterable[Path]) -> Iterator[None]:
    """Wait until no other process replaces files in the folders; where the system has no such locks, do not wait."""
    descriptors: list[int] = []
    try:
        with suppress(ImportError, OSError):
            import fcntl

            for folder in sorted(set(folders)):
                descriptors.append(os.open(folder, os.O_RDONLY))
                fcntl.flock(descriptors[-1], fcntl.LOCK_EX)
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


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
