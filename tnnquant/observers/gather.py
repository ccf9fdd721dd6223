"""What observers gather of a blob: the range, the histogram, the mean magnitude of every slot.

A gatherer meets arrays of one blob, mostly the same array again and again: for each memory layout, and each Python
thread that asks, it makes the op of :mod:`tnnquant.kernels.stats` once, with accumulators of its own. :meth:`ops` gives
that op, so that a program may hold it right after the op that computes the blob; nothing is folded into slots before
it is asked for. Threads may thus gather side by side. Results are read when none does.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import DTypeLike

from tnnquant.kernels.walk import BIN_STRIDE, BINS, histogram_walk, range_walk

__all__ = ["MOST", "Histograms", "Magnitudes", "Ranges"]

#: Values that a slot may be shown while it is counted in int32.
MOST = np.iinfo(np.int32).max


class _Gatherer:
    """Ops and accumulators by memory layout and thread.

    Parameters
    ----------
    slots : int
        1, or the channels of the blob.
    """

    def __init__(self, slots: int):
        self.slots = slots
        self._parts: dict[tuple, dict] = {}

    def ops(self, x: np.ndarray) -> np.ndarray:
        """The op that takes in ``x``, int64 (1, WORDS).

        Parameters
        ----------
        x : float32 (N, C, ...)
            Whose memory can be walked in place; it must be alive when the op runs. The thread that asked for the op
            must be the one that runs it.
        """
        from tnnquant.kernels.program import ARGS, data_address

        part = self._part(x)
        part["op"][0, ARGS] = data_address(x)
        op: np.ndarray = part["op"]
        return op

    def _part(self, x: np.ndarray) -> dict:
        key = threading.get_ident(), x.shape, x.strides
        if key not in self._parts:
            self._parts[key] = self._new_part(x)
        return self._parts[key]

    def _new_part(self, x: np.ndarray) -> dict:
        raise NotImplementedError


class Ranges(_Gatherer):
    """Lowest and highest value of every slot."""

    def _new_part(self, x: np.ndarray) -> dict:
        from tnnquant.kernels.stats import range_op

        walk, slot = range_walk(x, self.slots)
        low = np.full((walk.tasks, walk.columns), np.inf, np.float32)
        high, flags = -low, np.zeros(walk.tasks, np.int64)
        op = range_op(walk, 0, low, high, flags)
        return {"op": op, "low": low, "high": high, "flags": flags, "slot": np.repeat(slot, walk.chunks, 0)}

    def fold(self, low: np.ndarray, high: np.ndarray) -> None:
        """Widen ``low`` and ``high``, float32 (slots,), by what was gathered."""
        for part in self._parts.values():
            np.minimum.at(low, part["slot"], part["low"])
            np.maximum.at(high, part["slot"], part["high"])
        # The one of -0 and 0 that came first would otherwise show in the state.
        low += np.float32(0)
        high += np.float32(0)

    def met_nonfinite(self, x: np.ndarray) -> bool:
        """Whether an array of the layout of ``x`` held NaN or infinity since this was asked last."""
        flags = self._part(x)["flags"]
        if not flags.any():
            return False
        flags[:] = 0
        return True


class Histograms(_Gatherer):
    """Counts of magnitudes in :data:`BINS` bins between 0 and a peak; zeros are not counted.

    Parameters
    ----------
    interval : float32 (slots,)
        Bins per unit; nothing is counted in a slot where it is 0.
    room : int
        Values that a slot may be shown before its int32 counts are added up in int64.
    """

    def __init__(self, interval: np.ndarray, room: int = MOST):
        super().__init__(len(interval))
        self.interval = interval
        self._room = room
        self._shown = 0
        self._wide: np.ndarray | None = None

    def _new_part(self, x: np.ndarray) -> dict:
        from tnnquant.kernels.stats import histogram_op

        walk, histogram, copies = histogram_walk(x, self.slots)
        interval = np.ascontiguousarray(self.interval[histogram // copies])
        floor = np.where(interval > 0, np.float32(0), np.float32(np.inf))
        base = (histogram * BIN_STRIDE).astype(np.int32)
        counts = np.zeros((walk.chunks, self.slots * copies, BIN_STRIDE), np.int32)
        op = histogram_op(walk, 0, interval, floor, base, counts)
        return {"op": op, "counts": counts, "copies": copies, "room": self._room, "keep": (interval, floor, base)}

    def seen(self, x: np.ndarray) -> None:
        """Take note that the op of ``x`` has run; for one thread at a time."""
        part, values = self._part(x), x.size // self.slots
        self._shown += values
        part["room"] -= values
        if part["room"] < values:  # the same op may run again
            total = self._summed([part], np.int64)
            self._wide = total if self._wide is None else self._wide + total
            part["counts"][:] = 0
            part["room"] = MOST

    def rows(self) -> np.ndarray:
        """The counts, int32 or int64 (slots, BINS or more); a view of accumulators where they are as large as that."""
        parts = list(self._parts.values())
        if self._wide is not None:
            counts: np.ndarray = self._wide + self._summed(parts, np.int64)
            return counts
        if self._shown > MOST:
            return self._summed(parts, np.int64)
        if any(part["counts"].shape[:2] != (1, self.slots) for part in parts):
            return self._summed(parts, np.int32)
        first, *others = parts
        for part in others:  # moved instead of copied, for the sake of memory
            first["counts"] += part["counts"]
            first["room"] -= MOST - part["room"]
            part["counts"][:] = 0
            part["room"] = MOST
        held: np.ndarray = first["counts"][0]
        return held

    def _summed(self, parts: list[dict], dtype: DTypeLike) -> np.ndarray:
        total = np.zeros((self.slots, BINS), dtype)
        for part in parts:
            counts = part["counts"]
            shape = (counts.shape[0], self.slots, part["copies"], BIN_STRIDE)
            total += counts.reshape(shape)[..., :BINS].sum(axis=(0, 2), dtype=dtype)
        return total


class Magnitudes(_Gatherer):
    """Mean magnitude of every slot in one array."""

    def _new_part(self, x: np.ndarray) -> dict:
        from tnnquant.kernels.stats import abs_sum_op

        walk, slot = range_walk(x, self.slots)
        sums = np.zeros((walk.tasks, walk.columns))
        return {"sums": sums, "slot": np.repeat(slot, walk.chunks, 0), "op": abs_sum_op(walk, 0, sums)}

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Mean of |x| over each slot, float64 (slots,), after the op of ``x`` has run; the same bits on any machine."""
        part = self._part(x)
        sums = np.bincount(part["slot"].reshape(-1), part["sums"].reshape(-1), self.slots)
        return sums * (self.slots / x.size)
