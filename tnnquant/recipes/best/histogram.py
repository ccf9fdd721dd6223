"""Histograms of the magnitudes of a blob, one per fold of the samples; only the bins that matter for some scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

__all__ = ["DEEPEST", "Histogram"]

#: Bins below the peak of the least channel that are told apart, and below that of the largest: what is smaller rounds
#: to 0 with any scale that the channel may get.
_DEPTH, DEEPEST = 160, 320
#: Lowest bits of a float32 that a kept count has not, and its exponent's bias there: 1 is the least count.
_SHIFT, _BIAS = 20, (127 << 3) - 1
#: What kept counts mean, float32 (256,).
_COUNTS = np.append(np.int32(0), (np.arange(1, 256, dtype=np.int32) + _BIAS) << _SHIFT).view(np.float32)
#: The same as whole numbers, int64 (256,).
_WHOLE = np.rint(_COUNTS).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of the magnitudes of each slot.

    Attributes
    ----------
    first : int
        The bin (:mod:`tnnquant.kernels.octaves`) that the counts begin with; smaller values are counted there.
    counts : uint8 (folds, slots, bins)
        Counts rounded to four bits, whole numbers up to 16 among them, as floating-point numbers of 8 bits: no scale
        depends on more, and all blobs' counts are in memory at a time.
    totals : float64 (folds, slots)
        Values counted.
    """

    first: int
    counts: np.ndarray
    totals: np.ndarray

    @classmethod
    def of(cls, first: int, rows: Sequence[np.ndarray] | np.ndarray) -> Histogram:
        """Of counts of each fold, (slots, bins) from bin ``first`` on, without the bins that tell nothing."""
        counts = rows if isinstance(rows, np.ndarray) else np.stack(rows)
        totals = counts.sum(axis=2, dtype=np.float64)
        used = np.asarray(counts.any(axis=0))
        if not used.any():
            return cls(first, _kept(counts[:, :, :1]), totals)
        tops = used.shape[1] - 1 - np.argmax(used[:, ::-1], axis=1)
        tops = tops[used[:, 1:].any(axis=1)] if used[:, 1:].any() else tops
        lowest = max(int(tops.min()) - _DEPTH, int(tops.max()) - DEEPEST, 0)
        kept = counts[:, :, lowest : int(tops.max()) + 1].copy()
        kept[:, :, 0] += counts[:, :, :lowest].sum(axis=2, dtype=counts.dtype)
        return cls(first + lowest, _kept(kept), totals)

    def wide(self, fold: int) -> np.ndarray:
        """The counts of one fold, float32 (slots, bins)."""
        counts: np.ndarray = np.take(_COUNTS, self.counts[fold])
        return counts

    def merged(self, other: Histogram) -> Histogram:
        """That of both, fold by fold."""
        first = min(self.first, other.first)
        last = max(self.first + self.counts.shape[2], other.first + other.counts.shape[2])
        counts = np.zeros((*self.counts.shape[:2], last - first), np.float32)
        for one in (self, other):
            at = one.first - first
            for fold in range(len(counts)):
                counts[fold, :, at : at + one.counts.shape[2]] += one.wide(fold)
        return replace(Histogram.of(first, counts), totals=self.totals + other.totals)

    @cached_property
    def squares(self) -> np.ndarray:
        """Sum of the squares of each slot's values, over all folds, float64 (slots,)."""
        from tnnquant.kernels.octaves import octave_edges

        edges = octave_edges()[self.first : self.first + self.counts.shape[2] + 1]
        mean_square = (edges[1:] ** 2 + edges[1:] * edges[:-1] + edges[:-1] ** 2) / 3
        folds = [(self.wide(fold) * mean_square).sum(axis=1) for fold in range(len(self.counts))]
        power: np.ndarray = np.sum(folds, axis=0)
        return power

    def whole(self, fold: int | None = None) -> np.ndarray:
        """The counts of one fold or all in all bins, int64 (slots, OCTAVE_BINS)."""
        from tnnquant.kernels.octaves import OCTAVE_BINS

        counts = np.zeros((self.counts.shape[1], OCTAVE_BINS), np.int64)
        for number in range(len(self.counts)) if fold is None else (fold,):
            counts[:, self.first : self.first + self.counts.shape[2]] += np.take(_WHOLE, self.counts[number])
        return counts

    def errors(self, fold: int, scales: np.ndarray, levels: int, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of squared rounding and clipping errors in one fold, float64 (slots chosen, trials) each.

        Parameters
        ----------
        fold : int
        scales : float64 (slots chosen, trials)
            Taken as the nearest of 16 to an octave.
        levels : int
            Steps from 0 to the largest code.
        chosen : bool (slots,)
        """
        from tnnquant.kernels.octave_errors import octave_errors

        rows = np.searchsorted(_middles(), scales).astype(np.int32)
        return octave_errors(self.wide(fold)[chosen], self.first, rows, levels)


@cache
def _middles() -> np.ndarray:
    """Between one scale that errors are given for and the next."""
    from tnnquant.observers.octaves import scale_grid

    grid = scale_grid()
    return np.asarray(np.sqrt(grid[1:] * grid[:-1]))


def _kept(counts: np.ndarray) -> np.ndarray:
    """Counts as they are kept, uint8."""
    bits = counts.astype(np.float32).view(np.int32)
    bits += 1 << (_SHIFT - 1)
    bits >>= _SHIFT
    bits -= _BIAS
    return np.maximum(bits, 0, out=bits).astype(np.uint8)
