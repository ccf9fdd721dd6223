"""From the files of a sample to arrays for the model: what is kept between passes, and what is made of it each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tnnquant.errors import InputError
from tnnquant.inputs.config import InputConfig
from tnnquant.inputs.display import printable
from tnnquant.inputs.grouping import Source, accepts_pictures
from tnnquant.inputs.normalize import FittedPicture, PictureInput
from tnnquant.inputs.picture import import_picture_library
from tnnquant.inputs.scan import PICTURES, suffix_of
from tnnquant.inputs.statistics import FedStatistics, ItemStatistics, pixel_statistics, tensor_statistics
from tnnquant.inputs.tensors import TensorTarget, read_npy, read_npz, read_text

__all__ = ["Loaded", "Loader", "channels_last"]


#: Bytes of the objects around a part: measured 3 kB, the statistics of its channels included.
_AROUND = 4096


@dataclass(frozen=True, eq=False)
class Loaded:
    """The contents of one sample's files.

    Attributes
    ----------
    parts : dict of str to FittedPicture or ndarray
        By input name. Pictures are kept as 8-bit pixels, a quarter of what they are fed as.
    statistics : dict of str to ItemStatistics
        By input name.
    """

    parts: dict[str, FittedPicture | np.ndarray]
    statistics: dict[str, ItemStatistics]

    @property
    def nbytes(self) -> int:
        """Memory of the parts, and of what Python keeps around them: of tiny pictures that is most."""
        parts = self.parts.values()
        held = sum(part.pixels.nbytes if isinstance(part, FittedPicture) else part.nbytes for part in parts)
        return held + _AROUND * len(parts)

    @property
    def notes(self) -> list[str]:
        """Notes about the pictures."""
        return [note for part in self.parts.values() if isinstance(part, FittedPicture) for note in part.notes]


class Loader:
    """Reads the files of samples; may be used by several threads at once.

    Parameters
    ----------
    specs : mapping of str to InputSpec
    config : InputConfig
    packs : bool
        Files may hold single rows of a batch.

    Attributes
    ----------
    fed_pictures : set of str
        Model inputs to which pictures were fed.
    """

    def __init__(self, specs: Mapping, config: InputConfig, *, packs: bool):
        self.packs = packs
        self.targets = {name: TensorTarget(name, spec.dims, spec.dtype, packs) for name, spec in specs.items()}
        by_picture = {name: spec for name, spec in specs.items() if accepts_pictures(spec)}
        self.pictures = {name: PictureInput(spec.dims, config) for name, spec in by_picture.items()}
        self.fed_pictures: set[str] = set()

    def import_libraries(self, sources: Iterable[Source]) -> None:
        """Import what reading the sources takes, so that no worker thread does it.

        Python breaks the locks of modules that import each other, as those of Numba do, when two threads would wait for
        each other; one of them then sees a half-initialised module.
        """
        suffixes = {suffix_of(path) for source in sources for _, path in source.files}
        if suffixes & PICTURES:
            import_picture_library()
            import tnnquant.kernels.resize
        if ".txt" in suffixes:
            import tnnquant.kernels.text  # noqa: F401 - only now is it needed

    def load(self, source: Source) -> Loaded:
        """Read a sample's files; raises InputError if one cannot be used."""
        parts: dict[str, FittedPicture | np.ndarray] = {}
        for name, path in source.files:
            parts.update(self._read(name, path))
        rows = {name: 1 if isinstance(part, FittedPicture) else part.shape[0] for name, part in parts.items()}
        if self.packs and len(set(rows.values())) > 1:
            held = ", ".join(f"{printable(name)} {count}" for name, count in rows.items())
            raise InputError(f"{source.name}: its inputs hold different numbers of rows of the batch: {held}")
        return Loaded(parts, {name: _statistics(part) for name, part in parts.items()})

    def _read(self, name: str, path: Path) -> dict[str, FittedPicture | np.ndarray]:
        suffix = suffix_of(path)
        if suffix in PICTURES:
            return {name: self.pictures[name].read(path)}
        if suffix == ".npz":
            return {name: channels_last(array) for name, array in read_npz(path, self.targets).items()}
        read = read_npy if suffix == ".npy" else read_text
        return {name: channels_last(read(path, self.targets[name]))}

    def feed(self, loaded: Loaded) -> dict[str, np.ndarray]:
        """New arrays (rows, ...) by input name, in the model's order of inputs."""
        arrays = {}
        for name in self.targets:
            part = loaded.parts[name]
            if isinstance(part, FittedPicture):
                arrays[name] = self.pictures[name].feed(part)
            else:
                arrays[name] = part.copy(order="K")
        return arrays

    def count(self, loaded: Loaded, statistics: Mapping[str, FedStatistics]) -> None:
        """Count a sample into the statistics of each input."""
        for name, part in loaded.parts.items():
            if isinstance(part, FittedPicture):
                picture_input = self.pictures[name]
                statistics[name].add(loaded.statistics[name], picture_input.mean, picture_input.scale)
                self.fed_pictures.add(name)
            else:
                statistics[name].add(loaded.statistics[name])

    def empty(self, name: str) -> np.ndarray:
        """An array for a batch of an input, stored as :meth:`feed` does."""
        return channels_last(np.empty(self.targets[name].dims, self.targets[name].numpy))


def channels_last(array: np.ndarray) -> np.ndarray:
    """The same array (N, C, H, W) in channels-last memory; arrays of other ranks as they are."""
    if array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _statistics(part: FittedPicture | np.ndarray) -> ItemStatistics:
    return pixel_statistics(part.pixels) if isinstance(part, FittedPicture) else tensor_statistics(part)
