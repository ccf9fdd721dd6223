"""What an observer is, and the range it starts from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self, TypeVar

import numpy as np

from tnnquant.base.registry import Registry
from tnnquant.errors import CalibrationError
from tnnquant.kernels.walk import walkable
from tnnquant.observers.gather import Ranges

__all__ = ["DEAD", "FLOOR_SCALE", "REGISTRY", "Observer", "observer"]

REGISTRY: Registry[type[Observer]] = Registry("blob method", "tnnquant.observers")

#: A slot whose largest magnitude is not above this is dead (docs/tnn-format.md, 7.6).
DEAD = 1e-5
#: Scale of a blob with one scale that is dead; TNN aborts there. Any positive value would do, for its codes are 0; this
#: is the scale at the edge of being dead.
FLOOR_SCALE = np.float32(DEAD / 127)


_Kind = TypeVar("_Kind", bound="type[Observer]")


def observer(code: int, name: str) -> Callable[[_Kind], _Kind]:
    """Decorator: register an observer class under the number of TNN's ``-b`` and a name."""
    return REGISTRY.register(name, code)


class Observer:
    """Watches one blob; this base class keeps its range.

    Parameters
    ----------
    slots : int
        Scales of the blob: 1, or its channels.

    Attributes
    ----------
    passes : int
        How often the samples must be shown.
    """

    passes: ClassVar[int] = 1

    def __init__(self, slots: int):
        self.slots = slots
        self._range = np.full((2, slots), [[np.inf], [-np.inf]], np.float32)
        self._ranges = Ranges(slots)
        self._turn = threading.Lock()

    def update(self, x: np.ndarray, number: int) -> None:
        """Take in one batch. Several threads may do so at the same time, within one pass.

        Parameters
        ----------
        x : float32 (N, C, ...)
            Logical shape. Memory that is C-contiguous or channels-last, also a slice of channels of a wider
            channels-last array, is read in place; any other is copied.
        number : int
            Which pass over the samples this is, from 0.

        Raises
        ------
        CalibrationError
            ``x`` holds NaN or infinity (pass 0); the observer is of no use from then on.
        """
        from tnnquant.kernels.program import run

        x = np.asarray(x, np.float32)
        if x.ndim < 2:
            x = x.reshape(1, -1)
        if self.slots not in (1, x.shape[1]):
            raise ValueError(f"a blob of dims {x.shape} has no {self.slots} slots")
        if not x.size:
            return
        if not walkable(x, self.slots):
            x = np.ascontiguousarray(x)
        with self._turn:
            rows = np.concatenate(self.ops(x, number))
        run(rows)
        with self._turn:
            self.seen(x, number)

    def ops(self, x: np.ndarray, number: int) -> list[np.ndarray]:
        """The ops that take in ``x``, which must be alive, and walkable in place, when they run.

        A program may hold them after the op that computes ``x``; :meth:`seen` must be called after each run. For one
        thread at a time. Accumulators are those of the thread that asks (:mod:`~tnnquant.observers.gather`), which must
        be the one that runs the ops, so that others may run theirs at the same time.
        """
        return [self._ranges.ops(x)] if number == 0 else []

    def seen(self, x: np.ndarray, number: int) -> None:
        """Finish taking in ``x`` after its ops have run; raises CalibrationError as :meth:`update` does.

        For one thread at a time, the one that ran the ops. What is kept must not depend on the order of the samples.
        """
        if number == 0 and self._ranges.met_nonfinite(x):
            bad = x.size - int(np.isfinite(x).sum())
            raise CalibrationError(
                f"{bad} of {x.size} values are NaN or infinite; check the model and the preprocessing of its input"
            )

    @property
    def low(self) -> np.ndarray:
        """Lowest value seen of each slot, float32 (slots,); inf before any."""
        low: np.ndarray = self._folded()[0]
        return low

    @property
    def high(self) -> np.ndarray:
        """Highest value seen of each slot, float32 (slots,); -inf before any."""
        high: np.ndarray = self._folded()[1]
        return high

    def _folded(self) -> np.ndarray:
        self._ranges.fold(*self._range)
        return self._range.copy()

    @property
    def peak(self) -> np.ndarray:
        """Largest magnitude of each slot, float32 (slots,)."""
        peak: np.ndarray = np.abs(self._folded()).max(axis=0)
        return peak

    @property
    def alive(self) -> np.ndarray:
        """Which slots are not dead, bool (slots,)."""
        return self.peak.astype(np.float64) > DEAD

    @classmethod
    def finish(cls, members: Sequence[Self]) -> None:
        """Settle what is cheaper for many observers at once; called once, before :meth:`params`."""

    def snapshot(self) -> Self:
        """Another observer that has seen what this one has so far."""
        other = type(self)(self.slots)
        other.restore(self.state())
        return other

    def follow(self, whole: Self) -> None:
        """Settle like an observer of these samples and some more that has settled, but for what only those have shown.

        For methods of several passes, of which this one has seen the first; others find their parameters by themselves.
        """

    def params(self) -> tuple[np.ndarray, np.ndarray]:
        """Scales float32 (slots,) and zero points int8 (slots,).

        A dead slot of several has scale 0, as in TNN: its codes are 0 and its weights fall away. A dead blob with one
        scale, on which TNN aborts, has a small positive scale.
        """
        if not np.isfinite(self.low).all():
            raise CalibrationError("no sample has been seen")
        scale, zero_point = self._params()
        alive = self.alive
        scale = np.where(alive, scale, np.float32(0) if self.slots > 1 else FLOOR_SCALE).astype(np.float32)
        return scale, np.where(alive, zero_point, 0).astype(np.int8)

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    # --- statistics as arrays: kept on disk, moved between machines, merged ---

    def state(self) -> dict[str, np.ndarray]:
        """The statistics as arrays by name."""
        return {"low": self.low, "high": self.high}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over statistics that :meth:`state` gave."""
        self._range = np.array([state["low"], state["high"]], np.float32)
        self._ranges = Ranges(self.slots)

    def merge(self, other: Self) -> None:
        """Add what another observer of the same blob has seen; the order of merging does not matter."""
        low, high = other._folded()
        self._range = np.stack([np.minimum(self.low, low), np.maximum(self.high, high)])
