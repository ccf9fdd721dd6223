"""Opening a calibration file: a regular one, of plausible size, or an error that names it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from tnnquant.errors import InputError
from tnnquant.inputs.display import printable

__all__ = ["open_input", "reason_of"]

# Opening a pipe must not wait for a writer (the path may have become one since the folder was listed).
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def open_input(path: Path) -> tuple[BinaryIO, int]:
    """Open a file for reading; returns it and its size in bytes, which is not 0.

    Raises
    ------
    InputError
        It is missing, a folder, a device, unreadable or empty.
    """
    where = printable(str(path))
    try:
        handle = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: cannot be opened: {reason_of(error)}") from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        os.close(handle)
        what = "empty (0 bytes)" if stat.S_ISREG(status.st_mode) else "no regular file"
        raise InputError(f"{where}: is {what}")
    return os.fdopen(handle, "rb"), status.st_size


def reason_of(error: BaseException) -> str:
    """What an exception of the system or of a library says, in one line."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(" ".join(text.split()), 160)
