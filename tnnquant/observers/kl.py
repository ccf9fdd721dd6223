"""KL divergence: the threshold whose clipped histogram is closest to its own 128-level version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from tnnquant.errors import CalibrationError
from tnnquant.observers.base import Observer, observer
from tnnquant.observers.minmax import BINS, scale_of_threshold

__all__ = ["KL"]

_MOST = np.iinfo(np.int32).max


@observer(2, "kl")
class KL(Observer):
    """Two passes: ranges, then histograms of 2048 bins between 0 and the peak; zeros are not counted.

    TNN counts in float32, which stops at 2**24 a bin; here counts are exact (int32, int64 before it could overflow).

    Attributes
    ----------
    counts : int32 or int64 (slots, 2049) or None
        The histogram; the last column is scratch for zeros.
    bins : int32 (slots,) or None
        The bin of the threshold, 128..2047.
    """

    passes: ClassVar[int] = 2

    def __init__(self, slots: int):
        super().__init__(slots)
        self.counts: np.ndarray | None = None
        self.bins: np.ndarray | None = None
        self._room = _MOST

    def _update(self, form: str, array: np.ndarray, number: int) -> None:
        from tnnquant.kernels import stats

        if number == 0:
            return
        interval = self.interval()
        self.bins = None
        if self.counts is None:
            self.counts = np.zeros((self.slots, BINS + 1), np.int64 if self.slots == 1 else np.int32)
        if self.counts.dtype == np.int32:
            self._room -= array.size // self.slots
            if self._room < 0:
                self.counts = self.counts.astype(np.int64)
        names = {"flat": stats.histogram_flat, "rows": stats.histogram_rows, "planes": stats.histogram_planes}
        names[form](array, interval, self.counts)

    def interval(self) -> np.ndarray:
        """Bins per unit, float32 (slots,); 0 for a dead slot."""
        with np.errstate(divide="ignore", over="ignore"):
            interval = (np.float32(BINS) / self.peak).astype(np.float32)
        return np.where(self.alive, interval, np.float32(0)).astype(np.float32)

    @classmethod
    def finish(cls, members: Sequence[Observer]) -> None:
        """Search all thresholds in one go: blobs with few slots would leave threads and vector lanes idle."""
        from tnnquant.kernels.kl import kl_thresholds

        ready = [member for member in members if member.counts is not None]
        for dtype in (np.int32, np.int64):
            group = [member for member in ready if member.counts.dtype == dtype]
            if not group:
                continue
            counts = np.concatenate([member.counts for member in group]) if len(group) > 1 else group[0].counts
            bins = np.empty(len(counts), np.int32)
            kl_thresholds(counts, bins)
            at = 0
            for member in group:
                member.bins = bins[at : at + member.slots]
                at += member.slots

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        if self.counts is None:
            raise CalibrationError("no sample has been shown a second time, for the histogram")
        if self.bins is None:
            type(self).finish([self])
        return scale_of_threshold(self.peak, self.bins), np.zeros(self.slots, np.int8)

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), **({} if self.counts is None else {"counts": self.counts[:, :BINS]})}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        super().restore(state)
        self.counts, self.bins, self._room = None, None, _MOST
        if "counts" in state:
            self.counts = np.zeros((self.slots, BINS + 1), np.int64)
            self.counts[:, :BINS] = state["counts"]

    def merge(self, other: Observer) -> None:
        """Histograms can be merged only if both were made with the merged range (``ValueError`` otherwise)."""
        if self.counts is not None or other.counts is not None:
            if not (np.array_equal(self.low, other.low) and np.array_equal(self.high, other.high)):
                raise ValueError("histograms of different ranges cannot be merged: merge the ranges first")
            if self.counts is None:
                self.counts = np.zeros((self.slots, BINS + 1), np.int64)
            if other.counts is not None:
                self.counts = self.counts.astype(np.int64) + other.counts
            self.bins = None
        super().merge(other)
