"""ACIQ: the clipping threshold that is best for an assumed distribution of the values (docs/tnn-format.md, 7.6)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import numpy as np

from tnnquant.observers.base import Observer, observer
from tnnquant.observers.gather import Magnitudes
from tnnquant.observers.sample_mean import SampleMean

__all__ = ["AciqGauss", "AciqLaplace"]

_GAUSS, _LAPLACE = np.float32(3.92403714), np.float32(9.89675982)
_SPREAD = 0.5 * 0.35 * (1 + math.sqrt(math.pi * math.log(4)))


@observer(4, "aciq-gauss")
class AciqGauss(Observer):
    """Gaussian values: sigma is estimated from the peak and the number of values n a slot of one sample has.

    ``sigma = 2 * peak * 0.5 * 0.35 * (1 + sqrt(pi * ln 4)) / sqrt(2 * ln n)``, ``scale = 3.92403714 * sigma / 127``.
    """

    def __init__(self, slots: int):
        super().__init__(slots)
        self.count = 0

    def seen(self, x: np.ndarray, number: int) -> None:
        super().seen(x, number)
        self.count = max(self.count, x.size // x.shape[0] // self.slots)

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        # A slot of one value has ln 1 = 0: as in TNN the division gives infinity there; the peak is used instead.
        root = math.sqrt(2 * math.log(self.count)) if self.count > 1 else 0.0
        if root == 0:
            return (self.peak / np.float32(127)).astype(np.float32), np.zeros(self.slots, np.int8)
        sigma = (self.peak * np.float32(2)).astype(np.float64) * _SPREAD / root
        limit = (np.float64(_GAUSS) * sigma).astype(np.float32)
        return (limit / np.float32(127)).astype(np.float32), np.zeros(self.slots, np.int8)

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), "count": np.asarray(self.count, np.int64)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        super().restore(state)
        self.count = int(state["count"])

    def merge(self, other: Self) -> None:
        super().merge(other)
        self.count = max(self.count, other.count)


@observer(5, "aciq-laplace")
class AciqLaplace(SampleMean):
    """Laplacian values: ``scale = 9.89675982 * m / 127`` with m the mean magnitude, averaged over samples.

    TNN looks at batch item 0 only and keeps a running float32 mean, which depends on the order of files; here the
    samples' means are summed exactly.
    """

    def __init__(self, slots: int):
        super().__init__(slots)
        self._magnitudes = Magnitudes(slots)

    def ops(self, x: np.ndarray, number: int) -> list[np.ndarray]:
        return [*super().ops(x, number), self._magnitudes.ops(x)]

    def of_sample(self, x: np.ndarray) -> np.ndarray:
        return self._magnitudes.mean(x).astype(np.float32)

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        return (_LAPLACE * self.mean() / np.float32(127)).astype(np.float32), np.zeros(self.slots, np.int8)
