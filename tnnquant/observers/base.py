"""What an observer is, and the range it starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from tnnquant.errors import CalibrationError
from tnnquant.registry import Registry

__all__ = ["DEAD", "FLOOR_SCALE", "REGISTRY", "Observer", "memory_form", "observer"]

REGISTRY = Registry("blob method", "tnnquant.observers")

#: A slot whose largest magnitude is not above this is dead (reference, 7.6).
DEAD = 1e-5
#: Scale of a blob with one scale that is dead; TNN aborts there. Any positive value would do, for its codes are 0; this
#: is the scale at the edge of being dead.
FLOOR_SCALE = np.float32(DEAD / 127)


def observer(code: int, name: str):
    """Decorator: register an observer class under the number of TNN's ``-b`` and a name."""
    return REGISTRY.register(name, code)


def memory_form(x: np.ndarray, slots: int) -> tuple[str, np.ndarray]:
    """A blob as the array that its memory holds, without a copy where that is possible.

    Parameters
    ----------
    x : float32 (N, C, ...)
        Logical shape; channels-last or C-contiguous in memory.
    slots : int
        1, or C.

    Returns
    -------
    form : {"flat", "rows", "planes"}
    array : float32 (n,), (R, C) or (N, C, I)
    """
    last = x.ndim == 4 and not x.flags.c_contiguous
    plain = x.transpose(0, 2, 3, 1) if last else x
    if slots == 1:
        return "flat", np.ascontiguousarray(plain).reshape(-1)
    if last or x.ndim == 2:
        return "rows", np.ascontiguousarray(plain).reshape(-1, x.shape[1])
    return "planes", np.ascontiguousarray(x).reshape(x.shape[0], x.shape[1], -1)


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
    low, high : float32 (slots,)
        Lowest and highest value seen; inf and -inf before any.
    """

    passes: ClassVar[int] = 1

    def __init__(self, slots: int):
        self.slots = slots
        self.low = np.full(slots, np.inf, np.float32)
        self.high = np.full(slots, -np.inf, np.float32)

    def update(self, x: np.ndarray, number: int) -> None:
        """Take in one batch.

        Parameters
        ----------
        x : float32 (N, C, ...)
            Logical shape; channels-last or C-contiguous in memory.
        number : int
            Which pass over the samples this is, from 0.

        Raises
        ------
        CalibrationError
            ``x`` holds NaN or infinity.
        """
        form, array = memory_form(np.asarray(x, np.float32), self.slots)
        if number == 0:
            self._update_range(form, array)
        self._update(form, array, number)

    def _update_range(self, form: str, array: np.ndarray) -> None:
        from tnnquant.kernels import stats

        kernel = {"flat": stats.range_flat, "rows": stats.range_rows, "planes": stats.range_planes}[form]
        bad = int(kernel(array, self.low, self.high))
        if bad:
            raise CalibrationError(
                f"{bad} of {array.size} values are NaN or infinite; check the model and the preprocessing of its input"
            )

    def _update(self, form: str, array: np.ndarray, number: int) -> None:
        """What a method needs beyond the range."""

    @property
    def peak(self) -> np.ndarray:
        """Largest magnitude of each slot, float32 (slots,)."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def alive(self) -> np.ndarray:
        """Which slots are not dead, bool (slots,)."""
        return self.peak.astype(np.float64) > DEAD

    @classmethod
    def finish(cls, members: Sequence[Observer]) -> None:
        """Settle what is cheaper for many observers at once; called once, before :meth:`params`."""

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
        self.low, self.high = (np.array(state[name], np.float32) for name in ("low", "high"))

    def merge(self, other: Observer) -> None:
        """Add what another observer of the same blob has seen; the order of merging does not matter."""
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
