"""Ranges from a histogram that needs no range beforehand, in one pass: least squared error, and percentile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np

from tnnquant.observers.base import Observer, observer
from tnnquant.observers.octaves import Octaves, rounding_errors, scale_grid

__all__ = ["MeanSquaredError", "Percentile"]

_LEVELS = 127
#: Scales that are tried, downwards from that of the peak: two octaves.
_TRIALS = 33
_SHARE = 0.9999


class _OctaveObserver(Observer):
    """An observer with a histogram of equal-ratio bins (:mod:`tnnquant.kernels.octaves`)."""

    def __init__(self, slots: int):
        super().__init__(slots)
        self._octaves = Octaves(slots)
        self._before: np.ndarray | int = 0  # int64 (slots, OCTAVE_BINS): counts that were restored or merged

    def ops(self, x: np.ndarray, number: int) -> list[np.ndarray]:
        return [*super().ops(x, number), self._octaves.ops(x)]

    @property
    def counts(self) -> np.ndarray:
        """The histogram, int64 (slots, OCTAVE_BINS)."""
        return self._octaves.rows() + self._before

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), "counts": self.counts}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        super().restore(state)
        self._octaves = Octaves(self.slots)
        self._before = np.array(state["counts"], np.int64)

    def merge(self, other: Self) -> None:
        super().merge(other)
        self._before = self._before + other.counts


@observer(10, "mse")
class MeanSquaredError(_OctaveObserver):
    """The scale with the smallest sum of squared errors of rounding and clipping, among steps of a sixteenth octave."""

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        grid = scale_grid()
        top = np.minimum(np.searchsorted(grid, self.peak.astype(np.float64) / _LEVELS), len(grid) - 1)
        rows = np.maximum(top[:, None] - np.arange(_TRIALS), 0)
        rounding, clipping = rounding_errors(self.counts, grid[rows], _LEVELS)
        best = np.take_along_axis(rows, (rounding + clipping).argmin(axis=1)[:, None], 1)[:, 0]
        return grid[best].astype(np.float32), np.zeros(self.slots, np.int8)


@observer(11, "percentile")
class Percentile(_OctaveObserver):
    """The magnitude that 99.99 % of the values other than 0 do not exceed, to a sixteenth octave, becomes code 127."""

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        from tnnquant.kernels.octaves import octave_edges

        counts = self.counts[:, 1:]
        enough = np.cumsum(counts, axis=1) >= np.ceil(counts.sum(axis=1) * _SHARE)[:, None]
        edge = octave_edges()[2:][enough.argmax(axis=1)]
        limit = np.minimum(edge, self.peak.astype(np.float64))
        return (limit / _LEVELS).astype(np.float32), np.zeros(self.slots, np.int8)
