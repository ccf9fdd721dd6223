"""The samples a recipe works with again and again, in memory: as many as fit, chosen by their contents."""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from tnnquant.errors import CalibrationError
from tnnquant.inputs.samples import Sample

__all__ = ["keep_samples"]


def keep_samples(samples: Iterable[Sample], most: int, count: int | None = None) -> list[Sample]:
    """Copies of the samples in the order of their digests; if they do not fit, of those with the smallest digests.

    That is a choice by chance, which does not depend on the names or the order of the files: the same pictures give the
    same model. Those that fall out are let go at once, so that memory stays within bounds for any number of samples.

    Parameters
    ----------
    samples : iterable of Sample
    most : int
        Bytes of all arrays together; one sample is kept at least.
    count : int, optional
        Samples at most.

    Raises
    ------
    CalibrationError
        There are none.
    """
    kept: list[tuple[bytes, int, Sample]] = []
    size = 0
    for number, sample in enumerate(samples):
        entry = _digest(sample.arrays), number
        mine = sum(array.nbytes for array in sample.arrays.values())
        is_full = size + mine > most or len(kept) == count
        if kept and is_full and entry > kept[-1][:2]:
            continue
        arrays = {name: np.array(array) for name, array in sample.arrays.items()}
        insort(kept, (*entry, replace(sample, arrays=arrays)))
        size += mine
        while (size > most or len(kept) > (count or len(kept))) and len(kept) > 1:
            size -= sum(array.nbytes for array in kept.pop()[2].arrays.values())
    if not kept:
        raise CalibrationError("there is no sample to calibrate with")
    return [sample for _, _, sample in kept]


def _digest(arrays: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.digest()
