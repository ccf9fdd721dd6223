"""Text from outside, made fit for a one-line message."""

from __future__ import annotations

import os

__all__ = ["count_of", "file_name", "printable", "quoted"]


def printable(text: str, limit: int = 200) -> str:
    """``text`` with control characters, undecodable bytes and the like escaped, cut to ``limit`` characters."""
    cut = text[:limit]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in cut)
    return shown + "..." if len(text) > limit else shown


def quoted(text: str, limit: int = 200) -> str:
    """:func:`printable` in quotes."""
    return f"'{printable(text, limit)}'"


def file_name(path: str | os.PathLike) -> str:
    """The last part of a path for a message."""
    return printable(os.path.basename(os.fspath(path)))


def count_of(count: int, noun: str, plural: str = "") -> str:
    """``1 file``, ``2 files``."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
