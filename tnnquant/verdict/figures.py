"""How close an int8 model's output is to that of fp32: sums over pictures, and the figures made of them. NumPy only.

An output is cut into *rows*, the slices along one axis (channels of a map, the box and score rows of a detector), and
rows are put together to *parts* that share a unit. Everything is summed in float64, picture by picture in a fixed
order, so that memory does not grow with the pictures and the figures do not depend on threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Figures", "OutputSums", "cosine_of", "decibels"]

#: What is printed where nothing differs, or where there is no signal.
_MOST = 120.0
#: Below this share of the energy, what differs between pictures is rounding.
_CONSTANT = 1e-9
#: Of at least and at most so many pictures the one that a model of fewer pictures is worst on does not count.
_LEAST, _FEW = 4, 20


def decibels(signal: float, noise: float) -> float:
    """``10 log10(signal / noise)`` of two energies, within -120..120; 120 where there is no noise."""
    if noise <= 0:
        return _MOST
    if signal <= 0:
        return -_MOST
    return float(np.clip(10 * np.log10(signal / noise), -_MOST, _MOST))


def cosine_of(product: float, energy: float, other: float) -> float:
    """Cosine of two vectors from their product and energies; 1 if both are zero, 0 if only one is."""
    if energy <= 0 or other <= 0:
        return 1.0 if energy <= 0 and other <= 0 else 0.0
    return float(np.clip(product / np.sqrt(energy * other), -1.0, 1.0))


@dataclass(frozen=True)
class Figures:
    """Of an output, a part of it or one row, over all pictures.

    Attributes
    ----------
    peak : float
        Largest magnitude in fp32.
    cosine : float
        Of all values of all pictures as one vector.
    sqnr_db : float
        Energy of fp32 over that of the difference.
    contrast_db : float or None
        The same, of what differs between pictures: each value's mean over the pictures is no signal. None where that
        cannot be said: one picture, or an output that is the same for all.
    largest_error : float
        In the unit of the output.
    """

    peak: float
    cosine: float
    sqnr_db: float
    contrast_db: float | None
    largest_error: float


class OutputSums:
    """Sums over pictures of one output.

    Parameters
    ----------
    rows : int
        Slices along the first axis of what :meth:`add` is shown.

    Attributes
    ----------
    pictures : int
    nonfinite : int
        Pictures not counted because a value of int8 is NaN or infinite.
    unlike : int
        Pictures not counted because the outputs have other dims.
    cosines : list of float
        Of each picture.
    """

    def __init__(self, rows: int):
        self.pictures = 0
        self.nonfinite = self.unlike = 0
        self.cosines: list[float] = []
        # energy of fp32, of int8, of the difference; product; energy about the means is made of `_total` in the end.
        self._sums = np.zeros((4, rows))
        self._each: list[np.ndarray] = []  # the same of each picture, if they are few
        self._peaks = np.zeros((2, rows))
        self._total: np.ndarray | None = None
        self._mean_cosine: float | None = None  # of pictures that do not count alike

    def add(self, wanted: np.ndarray, got: np.ndarray) -> None:
        """Count in one picture; (rows, ...) of fp32 and of int8, fp32 finite."""
        if wanted.shape != got.shape:
            self.unlike += 1
            return
        if not np.isfinite(got).all():
            self.nonfinite += 1
            return
        rows = self._sums.shape[1]
        wanted, got = (x.reshape(rows, -1).astype(np.float64) for x in (wanted, got))
        difference = got - wanted
        pairs = ((wanted, wanted), (got, got), (difference, difference), (wanted, got))
        sums = np.array([np.einsum("ij,ij->i", a, b) for a, b in pairs])
        self.cosines.append(cosine_of(sums[3].sum(), sums[0].sum(), sums[1].sum()))
        self._sums += sums
        if len(self._each) <= _FEW:
            self._each.append(sums)
        peaks = np.array([np.abs(x).max(axis=1, initial=0) for x in (wanted, difference)])
        self._peaks = np.maximum(self._peaks, peaks)
        self._total = wanted if self._total is None else self._total + wanted
        self.pictures += 1

    def figures(self, part: slice | np.ndarray = slice(None)) -> Figures:
        """Of some rows, a slice or an array of positions; of all by default."""
        energy, other, noise, product = self._sums[:, part].sum(axis=1)
        peak, largest = self._peaks[:, part].max(axis=1, initial=0)
        return Figures(
            float(peak), cosine_of(product, energy, other), decibels(energy, noise),
            self._contrast(part, energy, noise), float(largest),
        )  # fmt: skip

    def _contrast(self, part: slice | np.ndarray, energy: float, noise: float) -> float | None:
        n = self.pictures
        if n < 2 or self._total is None:
            return None
        common = float(np.square(self._total[part]).sum()) / n
        signal = (energy - common) * n / (n - 1)
        return decibels(signal, noise) if signal > _CONSTANT * energy else None

    def mixed(self, own: OutputSums, share: float, *, forgives_one: bool = False) -> OutputSums:
        """Sums in which these pictures have the weight ``share``, and those of ``own`` the rest.

        Parameters
        ----------
        own : OutputSums
            Of the model that has all pictures in its statistics.
        share : float
            0 to 1.
        forgives_one : bool
            Of few pictures the one with the largest error counts as ``own`` has it: with values larger than those of
            all others it lies beyond the ranges of a model that was made without it, not of one made with it.
        """
        sums = self._without_worst(own) if forgives_one else self._sums
        count = self.pictures  # the others may be the same
        found = OutputSums(self._sums.shape[1])
        found.pictures = count
        found.nonfinite, found.unlike = self.nonfinite + own.nonfinite, self.unlike + own.unlike
        found.cosines = self.cosines + own.cosines
        for part, its, weight in ((self, sums, share), (own, own._sums, 1 - share)):
            factor = weight * count / max(part.pictures, 1)
            found._sums += factor * its
            if part._total is not None:
                total = factor * part._total
                found._total = total if found._total is None else found._total + total
        found._peaks = np.maximum(self._peaks, own._peaks)
        found._mean_cosine = share * self.mean_cosine + (1 - share) * own.mean_cosine
        return found

    def _without_worst(self, own: OutputSums) -> np.ndarray:
        """The sums, float64 (4, rows), the picture with the largest error relative to the energy of the rows being as
        ``own`` has it, or as it has its pictures on average."""
        if not _LEAST <= self.pictures <= _FEW or not own.pictures:
            return self._sums
        each = np.array(self._each)
        energies = np.where(self._sums[0] > 0, self._sums[0], 1.0)
        worst = int(np.argmax((each[:, 2] / energies).sum(axis=1)))
        if len(own._each) == len(each) and np.array_equal(np.array(own._each)[:, 0], each[:, 0]):
            instead = own._each[worst]
        else:
            instead = own._sums * (each[worst, 0] / np.where(own._sums[0] > 0, own._sums[0], 1.0))
        sums: np.ndarray = self._sums - each[worst] + instead
        return sums

    @property
    def is_constant(self) -> bool:
        """Whether fp32 gave the same for all pictures."""
        return self.pictures > 0 and self.figures().contrast_db is None

    @property
    def mean_cosine(self) -> float:
        """Of the pictures; 0 without any."""
        if self._mean_cosine is not None:
            return self._mean_cosine
        return float(np.mean(self.cosines)) if self.cosines else 0.0

    @property
    def row_peaks(self) -> np.ndarray:
        """Largest magnitude of each row in fp32, float64 (rows,)."""
        peaks: np.ndarray = self._peaks[0].copy()
        return peaks
