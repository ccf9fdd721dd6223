"""Names of classes for their numbers, from a text file."""

from __future__ import annotations

import os
from pathlib import Path

from tnnquant.errors import InputError

__all__ = ["class_name", "read_classes"]

#: Bytes; a million names are no names of classes.
LARGEST = 4 << 20
LONGEST = 200


def read_classes(path: str | os.PathLike, scores: int | None = None) -> tuple[str, ...]:
    """The names in a file, one per line, that of class 0 first.

    Parameters
    ----------
    path : path
        Text in UTF-8.
    scores : int, optional
        How many classes the model tells apart.

    Returns
    -------
    tuple of str

    Raises
    ------
    InputError
        The file cannot be read, is no text, holds an empty line between others, or names another number of classes.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > LARGEST:
        raise InputError(f"{path} is larger than {LARGEST >> 20} MiB: expected the names of classes, one per line")
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8: {error.reason} at byte {error.start}") from None
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise InputError(f"{path} is empty: expected the names of classes, one per line")
    for number, name in enumerate(names, 1):
        if not name:
            raise InputError(f"{path}, line {number} is empty: expected the name of class {number - 1}")
        if len(name) > LONGEST:
            raise InputError(f"{path}, line {number} has {len(name)} characters: expected the name of a class")
    if scores is not None and len(names) != scores:
        raise InputError(f"{path} names {len(names)} classes, the model has {scores} scores")
    return tuple(names)


def class_name(names: tuple[str, ...], number: int) -> str:
    """The name of a class, or its number where it has none."""
    return names[number] if 0 <= number < len(names) else str(number)
