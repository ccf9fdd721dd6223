"""Which class is right for each picture: from a file of labels, or from the number that begins the picture's name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tnnquant.errors import InputError
from tnnquant.inputs.display import count_of, printable, quoted

__all__ = ["labels_from_names", "read_labels"]

_INDEX = re.compile(r"\d+")
_SEPARATORS = re.compile(r"[\s,;]+")


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


def read_labels(path: str | Path, names: Sequence[str]) -> dict[str, int]:
    """The class of each picture from a text file.

    Every line is either ``name label`` (separated by spaces, tabs or commas; folders and suffixes of names may be left
    out) or ``label`` alone, for the pictures in the order of their names. Labels count from 0. Empty lines and those
    that begin with # do not count.

    Parameters
    ----------
    path : path
    names : sequence of str
        File names of the pictures, sorted.

    Returns
    -------
    dict of str to int
        By name; lines for pictures that are not there are passed over.

    Raises
    ------
    InputError
        A line is of another form, or the file does not fit the pictures.
    """
    lines = _lines(path)
    widths = {len(fields) for _, fields in lines}
    if widths == {1}:
        return _in_order(path, lines, names)
    by_name: dict[str, tuple[int, int]] = {}
    for number, fields in lines:
        if len(fields) < 2:
            raise InputError(f"{path}, line {number}: expected 'name label' as in other lines, got {_shown(fields)}")
        name, label = os.path.basename(" ".join(fields[:-1])), _label(path, number, fields[-1])
        other = by_name.setdefault(name, (label, number))
        if other[0] != label:
            raise InputError(f"{path}, line {number}: {quoted(name)} is {label} here and {other[0]} in line {other[1]}")
    return _matched(path, {name: label for name, (label, _) in by_name.items()}, names)


def _lines(path: str | Path) -> list[tuple[int, list[str]]]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"--labels {str(path)!r}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise InputError(f"--labels {str(path)!r}: not a text file in UTF-8") from None
    numbered = [(number, _SEPARATORS.split(line.strip())) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, fields) for number, fields in numbered if fields != [""] and not fields[0].startswith("#")]
    if not lines:
        raise InputError(f"--labels {str(path)!r}: the file is empty")
    return lines


def _label(path: str | Path, number: int, text: str) -> int:
    if not _INDEX.fullmatch(text) or len(text) > 9:
        raise InputError(f"{path}, line {number}: the label is {quoted(text, 40)}, expected a class index, from 0 on")
    return int(text)


def _in_order(path, lines, names: Sequence[str]) -> dict[str, int]:
    if len(lines) != len(names):
        raise InputError(
            f"{path} has {count_of(len(lines), 'label')} without names, the folder has "
            f"{count_of(len(names), 'picture')}: expected one line a picture, in the order of their names"
        )
    return {name: _label(path, number, fields[0]) for name, (number, fields) in zip(names, lines, strict=True)}


def _matched(path, labels: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    by_stem = {os.path.splitext(name)[0]: label for name, label in labels.items()}
    found = {}
    for name in names:
        label = labels.get(name, by_stem.get(os.path.splitext(name)[0]))
        if label is not None:
            found[name] = label
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(
            f"{path} has no label for {len(missing)} of {count_of(len(names), 'picture')}: {quoted(missing[0])}"
            + (", ..." if len(missing) > 1 else "") + f"; its lines are like {quoted(next(iter(labels)))}"
        )  # fmt: skip
    return found


def _shown(fields: list[str]) -> str:
    return printable(" ".join(fields), 40)
