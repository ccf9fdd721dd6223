"""Right classes of evaluation pictures: from a file, or from the numbers that begin the file names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tnnquant.errors import InputError

if TYPE_CHECKING:
    from tnnquant.inputs.scan import PathLike

__all__ = ["PLAUSIBLE_TOP1", "labels_of_names", "no_classes", "parse_labels", "read_labels"]

#: Numbers that begin file names are taken for classes only if the fp32 model is right by them at least as often.
PLAUSIBLE_TOP1 = 0.05

_LEADING = re.compile(r"\d+")


def read_labels(path: PathLike, names: Sequence[str], classes: int | None = None) -> dict[int, int]:
    """The class of each picture that the file names.

    Two layouts: a line ``name label`` for each picture, in any order (separated by blanks, a tab or a comma; the name
    with or without suffix); or a label per line, for the pictures in the order of their names. Empty lines and those
    that begin with ``#`` do not count.

    Parameters
    ----------
    path : path
    names : sequence of str
        Of the pictures, in order.
    classes : int, optional
        Labels must be below.

    Returns
    -------
    dict of int to int
        Class by position in ``names``; pictures that are not named are not in it.

    Raises
    ------
    InputError
        The file cannot be read, a line is none of this, or labels and pictures do not fit together.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the labels cannot be read: {(error.strerror or str(error)).lower()}") from None
    return parse_labels(content, path, names, classes)


def parse_labels(content: bytes, path: PathLike, names: Sequence[str], classes: int | None = None) -> dict[int, int]:
    """As :func:`read_labels`, of what the file holds; its ``path`` is for messages."""
    lines = _lines(content, path)
    if not lines:
        raise InputError(f"{path}: holds no label; expected a line 'name label' per picture, or a label per line")
    pairs = [_parsed(path, number, line, classes) for number, line in lines]
    named = [(name, label) for name, label in pairs if name is not None]
    if not named:
        if len(pairs) != len(names):
            raise InputError(
                f"{path}: holds {len(pairs)} labels, but there are {len(names)} pictures; give one for each, in the "
                "order of their names, or lines 'name label'"
            )
        return {position: label for position, (_, label) in enumerate(pairs)}
    if len(named) != len(pairs):
        number = next(number for (number, _), (name, _) in zip(lines, pairs, strict=True) if name is None)
        raise InputError(f"{path}: line {number} holds a label without a name, other lines have names")
    return _matched(path, named, names)


def no_classes(labels: Mapping[int, int], classes: int | None) -> str:
    """What is to be said of labels that are no classes of a model with ``classes``; empty if there are none."""
    lost = [label for label in labels.values() if classes is not None and label >= classes]
    if classes is None or not lost:
        return ""
    are = "is no class" if len(lost) == 1 else "are no classes"
    found = f"{len(lost)} of {len(labels)} labels {are} of the model and skipped"
    return f"{found}: got {max(lost)}, expected 0 to {classes - 1}"


def labels_of_names(names: Sequence[str], classes: int | None = None) -> dict[int, int]:
    """The class indices that begin the names of most files.

    A number is a plausible class if it is below ``classes``. Names are taken for labels if more than half of them begin
    with one, the numbers are not all the same, and they do not merely count the files (``000.png``, ``001.png``, ...)
    unless there is one for each class.

    Parameters
    ----------
    names : sequence of str
    classes : int, optional
        How many the model has; by default every number is plausible.

    Returns
    -------
    dict of int to int
        Class by position in ``names``; names without a plausible number are not in it. Empty: names are no labels.
    """
    numbers = {position: int(match.group()) for position, name in enumerate(names) if (match := _LEADING.match(name))}
    labels = {position: number for position, number in numbers.items() if classes is None or number < classes}
    values = sorted(labels.values())
    if 2 * len(labels) <= len(names) or (len(values) > 1 and values[0] == values[-1]):
        return {}
    counted = len(values) > 1 and values == list(range(values[0], values[0] + len(values)))
    return {} if counted and len(values) != classes else labels


def _lines(content: bytes, path: PathLike) -> list[tuple[int, str]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: the labels cannot be read: not UTF-8 text") from None
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def _parsed(path: PathLike, number: int, line: str, classes: int | None) -> tuple[str | None, int]:
    words = [word.strip() for word in line.rsplit(",", 1)] if "," in line else line.rsplit(maxsplit=1)
    name = words[0].strip("\"'") if len(words) == 2 else None
    try:
        label = int(words[-1])
    except ValueError:
        raise InputError(f"{path}: line {number} is {line[:60]!r}, expected 'name label' or a class number") from None
    if label < 0 or (classes is not None and label >= classes):
        limit = f"0..{classes - 1}" if classes is not None else "0 or more"
        raise InputError(f"{path}: line {number}: the label is {label}, expected {limit}")
    return name, label


def _matched(path: PathLike, pairs: list[tuple[str, int]], names: Sequence[str]) -> dict[int, int]:
    table: Mapping[str, int] = {Path(name).name: label for name, label in pairs}
    stems = {Path(name).stem: label for name, label in table.items()}
    found = {}
    for position, name in enumerate(names):
        label = table.get(name, stems.get(Path(name).stem))
        if label is not None:
            found[position] = label
    if not found:
        raise InputError(
            f"{path}: names none of the {len(names)} pictures; its first name is {pairs[0][0]!r}, the first picture "
            f"{names[0]!r}"
        )
    return found
