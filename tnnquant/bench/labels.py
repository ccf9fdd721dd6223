"""Which class is right for each picture: a label for every one, or for none.

The forms of label files are those of ``quantize --labels`` (:mod:`tnnquant.verdict.labels`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tnnquant.errors import InputError
from tnnquant.inputs.display import count_of, quoted
from tnnquant.verdict.labels import read_labels

__all__ = ["labels_from_file", "labels_from_names"]

_INDEX = re.compile(r"\d+")


def labels_from_names(names: Sequence[str]) -> dict[str, int] | None:
    """The class index that begins each file's name; None if no name begins with one.

    Raises
    ------
    InputError
        Some names do and some do not.
    """
    found = {name: match for name in names if (match := _INDEX.match(name))}
    if not found:
        return None
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(
            f"{quoted(missing[0])} does not begin with a class index, unlike {quoted(next(iter(found)))} and "
            f"{len(found) - 1} others: rename it, or give --labels FILE"
        )
    return {name: int(match[0]) for name, match in found.items()}


def labels_from_file(path: str | Path, names: Sequence[str]) -> dict[str, int]:
    """The class of every picture from a text file; it may name pictures that are not there.

    Raises
    ------
    InputError
        A line is of another form, or a picture has no label.
    """
    labels = read_labels(path, names)
    missing = [name for number, name in enumerate(names) if number not in labels]
    if missing:
        raise InputError(
            f"{path}: has no label for {len(missing)} of {count_of(len(names), 'picture')}: {quoted(missing[0])}"
            + (", ..." if len(missing) > 1 else "")
        )
    return {names[number]: label for number, label in labels.items()}
