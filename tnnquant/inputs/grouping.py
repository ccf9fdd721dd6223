"""Which files make a sample: one, or one for each input of the model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tnnquant.base.tensor import DataType
from tnnquant.errors import InputError
from tnnquant.inputs.display import count_of, file_name, printable, quoted
from tnnquant.inputs.scan import PICTURES, suffix_of

if TYPE_CHECKING:
    from tnnquant.graph import InputSpec

__all__ = ["Source", "accepts_pictures", "group_files"]

_NO_PICTURES = "pictures are fed to float inputs of 4 dims with 1 to 4 channels"


@dataclass(frozen=True)
class Source:
    """The files of one sample.

    Attributes
    ----------
    name : str
        For messages: the file's name, or what the names of the files have in common.
    files : tuple of (str, Path)
        Input name and file; an .npz file feeds all inputs and has the name "".
    """

    name: str
    files: tuple[tuple[str, Path], ...]


def accepts_pictures(spec: InputSpec) -> bool:
    """Whether pictures can be fed to a model input (``dims``, ``dtype``)."""
    is_float = spec.dtype not in (DataType.INT32, DataType.INT8)
    return is_float and len(spec.dims) == 4 and 1 <= spec.dims[1] <= 4


def group_files(files: Iterable[Path], specs: Mapping) -> list[Source]:
    """The samples that the files make, in order.

    A model with one input: every file is a sample. With several: NAME.npz holds an array for each, or there is one file
    for each, NAME.INPUT.SUFFIX; in INPUT, the characters ``/ \\ :`` of an input's name are written ``_``.

    Parameters
    ----------
    files : iterable of Path
        Sorted.
    specs : mapping of str to InputSpec
        The model's inputs.

    Raises
    ------
    InputError
        A picture for an input that takes none; a file that belongs to no input; a sample without a file for some input,
        or with two.
    """
    files = [Path(file) for file in files]
    if not files:
        raise InputError("there is no calibration file")
    sources = _one_each(files, specs) if len(specs) == 1 else _several_each(files, specs)
    for source in sources:
        for name, path in source.files:
            if suffix_of(path) in PICTURES and not accepts_pictures(specs[name]):
                raise InputError(
                    f"{printable(str(path))}: is a picture, but {_shown(name, specs)} takes none ({_NO_PICTURES}): "
                    "give .txt, .npy or .npz files"
                )
    return sources


def _one_each(files: list[Path], specs: Mapping) -> list[Source]:
    (name,) = specs
    return [Source(file_name(path), (("" if suffix_of(path) == ".npz" else name, path),)) for path in files]


def _several_each(files: list[Path], specs: Mapping) -> list[Source]:
    endings = _endings(specs)
    groups: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in files:
        stem = os.path.splitext(path.name)[0]
        if suffix_of(path) == ".npz":
            groups[path.parent, path.name] = {"": path}
            continue
        # The longest first: of inputs "b" and "a.b", NAME.a.b.txt means the second.
        ending = next((ending for ending in endings if stem.endswith(ending) and len(stem) > len(ending)), None)
        if ending is None:
            raise InputError(f"{printable(str(path))}: belongs to no input; {_how(specs)}")
        group = groups.setdefault((path.parent, stem.removesuffix(ending)), {})
        other = group.setdefault(endings[ending], path)
        if other is not path:
            raise InputError(f"{printable(str(path))}: {_shown(endings[ending], specs)} has {file_name(other)} already")
    sources = []
    for (_, stem), group in sorted(groups.items(), key=lambda item: (os.fsencode(item[0][1]), os.fsencode(item[0][0]))):
        missing = [] if "" in group else [name for name in specs if name not in group]
        if missing:
            wanted = ", ".join(_shown(name, specs) for name in missing)
            raise InputError(f"sample {quoted(stem)}: no file for {wanted}; {_how(specs)}")
        sources.append(Source(printable(stem), tuple(sorted(group.items()))))
    return sources


def _endings(specs: Mapping) -> dict[str, str]:
    """How the stem of a file ends that feeds an input, longest first."""
    endings: dict[str, str] = {}
    for name in specs:
        ending = "." + name.translate(str.maketrans("/\\:", "___"))
        if ending in endings:
            raise InputError(
                f"the model inputs {quoted(name)} and {quoted(endings[ending])} cannot be told apart in file "
                "names; give .npz files"
            )
        endings[ending] = name
    return dict(sorted(endings.items(), key=lambda item: (-len(item[0]), item[0])))


def _shown(name: str, specs: Mapping) -> str:
    return f"the model input {quoted(name)} ({'x'.join(map(str, specs[name].dims))})"


def _how(specs: Mapping) -> str:
    inputs = ", ".join(f"{printable(name)} ({'x'.join(map(str, spec.dims))})" for name, spec in specs.items())
    example = " and ".join(
        f"NAME{ending}.{'png' if accepts_pictures(specs[name]) else 'txt'}"
        for ending, name in sorted(_endings(specs).items(), key=lambda item: list(specs).index(item[1]))
    )
    return (
        f"the model has {count_of(len(specs), 'input')}, {inputs}: give every sample as NAME.npz with arrays of these "
        f"names, or as {example} (or .npy)"
    )
