"""The samples a recipe works with again and again, in memory: as many as fit, chosen by their contents."""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tnnquant.errors import CalibrationError
from tnnquant.inputs.samples import Sample

__all__ = ["KeptSample", "keep_samples"]


@dataclass(frozen=True, eq=False)
class KeptSample:
    """A sample whose arrays are made when they are asked for: pictures are kept as their pixels, a quarter of the size.

    Attributes
    ----------
    name, fresh, numbers
        As of :class:`~tnnquant.inputs.samples.Sample`.
    """

    name: str
    fresh: int
    numbers: tuple[int, ...]
    _again: Callable[[], dict[str, np.ndarray]]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """By input name; new ones each time."""
        return self._again()


def keep_samples(
    samples: Iterable[Sample], most: int, count: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[KeptSample]:  # fmt: skip
    """The samples in the order of their digests; if they do not fit, of those with the smallest digests.

    That is a choice by chance, which does not depend on the names or the order of the files: the same pictures give the
    same model. Those that fall out are let go at once, so that memory stays within bounds for any number of samples.

    Parameters
    ----------
    samples : iterable of Sample
    most : int
        Bytes of all arrays together, as the model is fed them; one sample is kept at least.
    count : int, optional
        Samples at most.
    progress : callable (done), optional
        Told how many samples were read.

    Raises
    ------
    CalibrationError
        There are none.
    """
    kept: list[tuple[bytes, int, int, KeptSample]] = []
    size = 0
    for number, sample in enumerate(samples):
        entry = _digest(sample.arrays), number
        if progress:
            progress(number + 1)
        mine = sum(array.nbytes for array in sample.arrays.values())
        is_full = size + mine > most or len(kept) == count
        if kept and is_full and entry > kept[-1][:2]:
            continue
        insort(kept, (*entry, mine, _kept(sample)))
        size += mine
        while (size > most or len(kept) > (count or len(kept))) and len(kept) > 1:
            size -= kept.pop()[2]
    if not kept:
        raise CalibrationError("there is no sample to calibrate with")
    return [entry[-1] for entry in kept]


def _kept(sample: Sample) -> KeptSample:
    again = getattr(sample, "again", None)
    if again is None:
        copies = {name: np.array(array) for name, array in sample.arrays.items()}

        def again() -> dict[str, np.ndarray]:
            return {name: array.copy(order="K") for name, array in copies.items()}

    return KeptSample(sample.name, getattr(sample, "fresh", 1), getattr(sample, "numbers", ()), again)


def _digest(arrays: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.digest()
