"""The mean of the samples' peaks: an outlier in one sample does not decide the range."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tnnquant.observers.aciq import ExactSum
from tnnquant.observers.base import Observer, observer

__all__ = ["AveragePeak"]

_LEVELS = np.float32(127)


@observer(12, "average")
class AveragePeak(Observer):
    """Symmetric min-max averaged over batches: the mean of the batches' largest magnitudes becomes code 127.

    The sums are exact, so that the order of the samples does not matter.

    Attributes
    ----------
    total : ExactSum
        Of the batches' largest magnitudes.
    samples : int
    """

    def __init__(self, slots: int):
        super().__init__(slots)
        self.total = ExactSum(slots)
        self.samples = 0

    def seen(self, x: np.ndarray, number: int) -> None:
        super().seen(x, number)
        axes = tuple(i for i in range(x.ndim) if i != 1) if self.slots > 1 else None
        peak = np.maximum(np.abs(x.max(axis=axes)), np.abs(x.min(axis=axes)))
        self.total.add(np.asarray(peak, np.float32).reshape(self.slots))
        self.samples += 1

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        mean = (self.total.value() / self.samples).astype(np.float32)
        return (mean / _LEVELS).astype(np.float32), np.zeros(self.slots, np.int8)

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), "limbs": self.total.limbs, "samples": np.int64(self.samples)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        super().restore(state)
        self.total.limbs = np.array(state["limbs"], np.int64)
        self.samples = int(state["samples"])

    def merge(self, other: Observer) -> None:
        super().merge(other)
        self.total.limbs = self.total.limbs + other.total.limbs
        self.samples += other.samples
