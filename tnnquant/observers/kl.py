"""KL divergence: the threshold whose clipped histogram is closest to its own 128-level version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from tnnquant.errors import CalibrationError
from tnnquant.kernels.walk import BINS
from tnnquant.observers.base import Observer, observer
from tnnquant.observers.gather import MOST, Histograms
from tnnquant.observers.minmax import scale_of_threshold

__all__ = ["KL"]


@observer(2, "kl")
class KL(Observer):
    """Two passes: ranges, then histograms of 2048 bins between 0 and the peak; zeros are not counted.

    TNN counts in float32, which stops at 2**24 a bin; here counts are exact (int32, int64 before it could overflow).

    Attributes
    ----------
    bins : int32 (slots,) or None
        The bin of the threshold, 128..2047.
    """

    passes: ClassVar[int] = 2

    def __init__(self, slots: int):
        super().__init__(slots)
        self.bins: np.ndarray | None = None
        self._room = MOST
        self._forget()

    def _forget(self, wide: np.ndarray | None = None) -> None:
        self._wide = wide  # int64 (slots, BINS): counts that are no longer in the histograms
        self._histograms: Histograms | None = None

    def ops(self, x: np.ndarray, number: int) -> list[np.ndarray]:
        if number == 0:
            return super().ops(x, number)
        if self._histograms is None:
            self._histograms = Histograms(self.interval(), self._room)
        return [self._histograms.ops(x)]

    def seen(self, x: np.ndarray, number: int) -> None:
        super().seen(x, number)
        self.bins = None
        if self._histograms is None:
            return
        if number == 1:
            self._histograms.seen(x)
        else:
            # The range may have changed, and the interval with it.
            self._forget(self._counted(self._histograms).astype(np.int64))

    @property
    def counts(self) -> np.ndarray | None:
        """The histogram, int32 or int64 (slots, 2048), None before any; it may be a view of what is being counted."""
        return self._wide if self._histograms is None else self._counted(self._histograms)

    def _counted(self, histograms: Histograms) -> np.ndarray:
        rows = histograms.rows()[:, :BINS]
        return rows if self._wide is None else self._wide + rows

    def interval(self) -> np.ndarray:
        """Bins per unit, float32 (slots,); 0 for a dead slot."""
        with np.errstate(divide="ignore", over="ignore"):
            interval = (np.float32(BINS) / self.peak).astype(np.float32)
        return np.where(self.alive, interval, np.float32(0)).astype(np.float32)

    @classmethod
    def finish(cls, members: Sequence[Self]) -> None:
        """Search all thresholds in one go: blobs with few slots would leave threads and vector lanes idle."""
        from tnnquant.kernels.kl import search
        from tnnquant.kernels.program import data_address

        ready = [(member, member.counts) for member in members if member.bins is None]
        for dtype in (np.int32, np.int64):
            group = [(member, counts) for member, counts in ready if counts is not None and counts.dtype == dtype]
            addresses = [data_address(a) + a.strides[0] * np.arange(len(a), dtype=np.int64) for _, a in group]
            rows = np.concatenate([np.empty(0, np.int64), *addresses])
            found = search(rows, np.dtype(dtype).itemsize, np.empty(rows.size, np.int32))
            for member, _ in group:
                member.bins, found = found[: member.slots], found[member.slots :]

    def follow(self, whole: Self) -> None:
        from tnnquant.kernels.kl import GROUPS

        counts = self.counts
        if counts is not None:
            last = BINS - 1 - np.argmax(counts[:, ::-1] > 0, axis=1)  # the last bin that is not empty
        else:
            last = np.minimum((self.peak * whole.interval()).astype(np.int64), BINS - 1)
            Observer.restore(self, Observer.state(whole))
        assert whole.bins is not None  # it has settled
        self.bins = np.minimum(whole.bins, np.maximum(last, GROUPS)).astype(np.int32)

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        if self._histograms is None and self._wide is None and self.bins is None:
            raise CalibrationError("no sample has been shown a second time, for the histogram")
        if self.bins is None:
            type(self).finish([self])
        assert self.bins is not None  # found by finish
        return scale_of_threshold(self.peak, self.bins), np.zeros(self.slots, np.int8)

    def state(self) -> dict[str, np.ndarray]:
        counts = self.counts
        return {**super().state(), **({} if counts is None else {"counts": counts.copy()})}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        super().restore(state)
        self.bins = None
        self._forget(np.array(state["counts"], np.int64) if "counts" in state else None)

    def merge(self, other: Self) -> None:
        """Histograms can be merged only if both were made with the merged range (``ValueError`` otherwise)."""
        if self.counts is not None or other.counts is not None:
            if not (np.array_equal(self.low, other.low) and np.array_equal(self.high, other.high)):
                raise ValueError("histograms of different ranges cannot be merged: merge the ranges first")
            counts = [member.counts for member in (self, other) if member.counts is not None]
            self.bins = None
            self._forget(np.asarray(np.sum(counts, axis=0, dtype=np.int64)))
        super().merge(other)
