"""The right class of every picture from a file, in the forms of ``quantize --labels``
(:mod:`tnnquant.verdict.labels`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tnnquant.errors import InputError
from tnnquant.inputs.display import count_of, quoted
from tnnquant.verdict.labels import read_labels

__all__ = ["labels_from_file"]

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
