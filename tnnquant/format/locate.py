"""Which two files a name means: models are pairs, and people have one name in mind."""

from __future__ import annotations

import os
from pathlib import Path

from tnnquant.base.wording import parameter
from tnnquant.errors import ModelFormatError
from tnnquant.format.constants import MODEL_SUFFIX, PROTO_SUFFIX

__all__ = ["both_files", "find_pair"]


def both_files() -> str:
    """The parameters that name two files, in messages."""
    return f"{parameter('proto')} and {parameter('model')}"


def find_pair(
    name: str | os.PathLike | None = None, proto: str | None = None, model: str | None = None, *,
    both: str = "",
) -> tuple[Path, Path]:  # fmt: skip
    """Proto and model of a name: either of the two files, what they have in common, or a folder with one pair.

    Parameters
    ----------
    name : path, optional
        ``net``, ``net.tnnproto``, ``net.tnnmodel`` or a folder. Not needed if both files are given.
    proto, model : path, optional
        One of the two files, or both, where their names differ; with one, ``name`` means the other.
    both : str
        How the user names two files, for messages; default: by the two parameters.

    Raises
    ------
    ModelFormatError
        No such files; or a file of another kind, which is named.
    """
    if proto and model:
        return Path(proto), Path(model)
    given = name or proto or model
    if given is None:
        raise ModelFormatError(
            f"no model is given: name it (net, for net.tnnproto and net.tnnmodel) or give {both_files()}"
        )
    path = Path(given)
    if path.is_dir():
        path = _only_proto(path)
    base = str(path)
    for suffix in (PROTO_SUFFIX, MODEL_SUFFIX):
        base = base.removesuffix(suffix)
    pair = Path(proto or base + PROTO_SUFFIX), Path(model or base + MODEL_SUFFIX)
    missing = [file for file in pair if not file.exists()]
    if not missing:
        return pair
    if path.is_file() and path.suffix not in (PROTO_SUFFIX, MODEL_SUFFIX):
        raise ModelFormatError(f"{str(path)!r} is {_kind(path)}; expected an .onnx, .tnnproto or .tnnmodel")
    if len(missing) == 1:
        (gone,), (there,) = missing, [file for file in pair if file.exists()]
        names = both or both_files()
        raise ModelFormatError(f"there is no {str(gone)!r} beside {str(there)!r}; {names} name two files")
    raise ModelFormatError(f"there is no {str(pair[0])!r} and no {str(pair[1])!r}{_neighbours(path)}")


def _only_proto(folder: Path) -> Path:
    found = sorted(folder.glob("*" + PROTO_SUFFIX))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModelFormatError(f"the folder {str(folder)!r} holds no {PROTO_SUFFIX}; name the model")
    names = ", ".join(path.stem for path in found[:6]) + (", ..." if len(found) > 6 else "")
    raise ModelFormatError(f"the folder {str(folder)!r} holds {len(found)} models ({names}); name one of them")


def _kind(path: Path) -> str:
    from tnnquant.format.foreign import looks_like

    try:
        with open(path, "rb") as file:
            return looks_like(file.read(512))
    except OSError as error:
        return f"not readable ({(error.strerror or str(error)).lower()})"


def _neighbours(path: Path) -> str:
    try:
        found = sorted(entry.stem for entry in path.parent.glob("*" + PROTO_SUFFIX))
    except OSError:
        found = []
    if not found:
        return ""
    return "; beside it there is " + ", ".join(found[:6]) + (", ..." if len(found) > 6 else "")
