"""What observers share whose scale follows a mean over the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np

from tnnquant.observers.base import Observer
from tnnquant.observers.exact_sum import ExactSum

__all__ = ["SampleMean"]


class SampleMean(Observer):
    """Averages one figure of each sample. The sums are exact, so that the order of the samples does not matter.

    Attributes
    ----------
    total : ExactSum
        Of the samples' figures.
    samples : int
    """

    def __init__(self, slots: int):
        super().__init__(slots)
        self.total = ExactSum(slots)
        self.samples = 0

    def of_sample(self, x: np.ndarray) -> np.ndarray:
        """The figure of a sample whose ops have run: float32 (slots,), finite, not negative."""
        raise NotImplementedError

    def mean(self) -> np.ndarray:
        """The mean of the samples' figures, float32 (slots,)."""
        return (self.total.value() / self.samples).astype(np.float32)

    def seen(self, x: np.ndarray, number: int) -> None:
        super().seen(x, number)
        self.total.add(self.of_sample(x))
        self.samples += 1

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), "limbs": self.total.limbs, "samples": np.asarray(self.samples, np.int64)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        super().restore(state)
        self.total.limbs = np.array(state["limbs"], np.int64)
        self.samples = int(state["samples"])

    def merge(self, other: Self) -> None:
        super().merge(other)
        self.total.limbs = self.total.limbs + other.total.limbs
        self.samples += other.samples
