"""Gathering histograms of equal-ratio bins, and what they tell: the error of rounding with any scale."""

from __future__ import annotations

from functools import cache

import numpy as np

from tnnquant.kernels.walk import histogram_walk
from tnnquant.observers.gather import _Gatherer

__all__ = ["Octaves", "rounding_errors", "scale_grid", "second_moment"]

_SAMPLES = 64


class Octaves(_Gatherer):
    """Counts of the magnitudes of every slot in bins of equal ratio (:mod:`tnnquant.kernels.octaves`).

    Parameters
    ----------
    slots : int
    skipped : int
        Bins from 1 on that have no counts of their own but are counted in the one after them.
    bins : int, optional
        Bins that are left; what lies beyond the last is counted there. Default: all.
    only_positive : bool
        Values that are not above 0 are counted as 0.
    """

    def __init__(self, slots: int, skipped: int = 0, bins: int | None = None, *, only_positive: bool = False):
        from tnnquant.kernels.octaves import OCTAVE_BINS

        super().__init__(slots)
        self._only_positive = only_positive
        self.skipped, self.bins = skipped, OCTAVE_BINS - skipped if bins is None else bins

    def _new_part(self, x: np.ndarray) -> dict:
        from tnnquant.kernels.octaves import octave_histogram_op

        walk, histogram, copies = histogram_walk(x, self.slots)
        base = np.ascontiguousarray(np.broadcast_to(histogram * self.bins, (walk.groups, walk.columns)), np.int32)
        counts = np.zeros((walk.chunks, self.slots * copies, self.bins), np.int32)
        op = octave_histogram_op(walk, 0, base, counts, self.skipped, self._only_positive)
        return {"op": op, "counts": counts, "copies": copies, "keep": base}

    def rows(self) -> np.ndarray:
        """The counts, int64 (slots, bins)."""
        total = np.zeros((self.slots, self.bins), np.int64)
        for part in self._parts.values():
            counts = part["counts"]
            for chunk in counts.reshape(counts.shape[0], self.slots, part["copies"], self.bins):
                for copy in range(part["copies"]):
                    total += chunk[:, copy]
        return total

    def clear(self) -> None:
        """Count from 0 again; ops that were given stay valid."""
        for part in self._parts.values():
            part["counts"][:] = 0


def scale_grid() -> np.ndarray:
    """The scales whose errors :func:`rounding_errors` gives, float64 (trials,): lower edges of bins 1 and up."""
    from tnnquant.kernels.octaves import octave_edges

    return octave_edges()[1:-1]


@cache
def _error_tables(levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared rounding and clipping error in units of scale**2, by bin of the scale (row) and of the value (column)."""
    from tnnquant.kernels.octaves import octave_edges

    edges = octave_edges()
    inside = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    values = edges[:-1, None] + np.diff(edges)[:, None] * inside
    rounding, clipping = np.zeros((2, len(edges) - 2, len(edges) - 1))
    for row, scale in enumerate(edges[1:-1]):
        steps = values / scale
        over = steps > levels + 0.5
        error = (steps - np.minimum(np.floor(steps + 0.5), levels)) ** 2
        rounding[row] = np.where(over, 0, error).mean(axis=1)
        clipping[row] = np.where(over, error, 0).mean(axis=1)
    return rounding, clipping


def rounding_errors(counts: np.ndarray, scales: np.ndarray, levels: int = 127) -> tuple[np.ndarray, np.ndarray]:
    """What quantization does to the values of a histogram.

    Parameters
    ----------
    counts : int64 (slots, OCTAVE_BINS)
    scales : float64 (slots, trials)
        Taken as the nearest of :func:`scale_grid`.
    levels : int
        Steps from 0 to the largest code.

    Returns
    -------
    rounding, clipping : float64 (slots, trials)
        Sums of squared errors of the values within and beyond the largest code; values are taken as evenly spread over
        their bins.
    """
    from tnnquant.kernels.mse_range import histogram_errors

    grid = scale_grid()
    middle = np.sqrt(grid[1:] * grid[:-1])
    rows = np.searchsorted(middle, scales).astype(np.int32)
    counts = np.ascontiguousarray(counts, np.int64)
    squared = grid[rows] ** 2
    rounding, clipping = (histogram_errors(counts, rows, table) for table in _error_tables(levels))
    return rounding * squared, clipping * squared


def second_moment(counts: np.ndarray) -> np.ndarray:
    """Sum of squares of the values of a histogram, float64 (slots,), values taken as evenly spread over their bins."""
    from tnnquant.kernels.octaves import octave_edges

    edges = octave_edges()
    mean_square = (edges[1:] ** 2 + edges[1:] * edges[:-1] + edges[:-1] ** 2) / 3
    power: np.ndarray = (counts * mean_square).sum(axis=1)
    return power
