"""ACIQ: the clipping threshold that is best for an assumed distribution of the values (reference, 7.6)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tnnquant.observers.base import Observer, observer
from tnnquant.observers.gather import Magnitudes

__all__ = ["AciqGauss", "AciqLaplace", "ExactSum"]

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
        return {**super().state(), "count": np.int64(self.count)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        super().restore(state)
        self.count = int(state["count"])

    def merge(self, other: Observer) -> None:
        super().merge(other)
        self.count = max(self.count, other.count)


@observer(5, "aciq-laplace")
class AciqLaplace(Observer):
    """Laplacian values: ``scale = 9.89675982 * m / 127`` with m the mean magnitude, averaged over samples.

    TNN looks at batch item 0 only and keeps a running float32 mean, which depends on the order of files; here the
    samples' means are summed exactly.

    Attributes
    ----------
    total : ExactSum
        Of the samples' mean magnitudes.
    samples : int
    """

    def __init__(self, slots: int):
        super().__init__(slots)
        self.total = ExactSum(slots)
        self.samples = 0
        self._magnitudes = Magnitudes(slots)

    def ops(self, x: np.ndarray, number: int) -> list[np.ndarray]:
        return [*super().ops(x, number), self._magnitudes.ops(x)]

    def seen(self, x: np.ndarray, number: int) -> None:
        super().seen(x, number)
        self.total.add(self._magnitudes.mean(x).astype(np.float32))
        self.samples += 1

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        mean = (self.total.value() / self.samples).astype(np.float32)
        return (_LAPLACE * mean / np.float32(127)).astype(np.float32), np.zeros(self.slots, np.int8)

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


class ExactSum:
    """Sums of non-negative float32 values without rounding, so that their order does not matter.

    A float32 is an integer of 24 bits times a power of two not below 2**-149. Limb k counts units of
    2**(32*k - 149); int64 limbs take 2**31 values before one could overflow.

    Attributes
    ----------
    limbs : int64 (slots, 10)
    """

    LIMBS = 10

    def __init__(self, slots: int):
        self.limbs = np.zeros((slots, self.LIMBS), np.int64)

    def add(self, values: np.ndarray) -> None:
        """Add one value to each sum; float32 (slots,), finite, not negative."""
        significand, exponent = np.frexp(values.astype(np.float64))
        whole = (significand * 2.0**24).astype(np.int64)
        position = exponent.astype(np.int64) - 24 + 149
        # A subnormal float32 has fewer than 24 bits: what would lie below 2**-149 is zero.
        whole = np.where(position < 0, whole >> np.maximum(-position, 0), whole)
        position = np.maximum(position, 0)
        shifted = whole << (position % 32)
        rows, limb = np.arange(len(values)), position // 32
        self.limbs[rows, limb] += shifted & 0xFFFFFFFF
        self.limbs[rows, limb + 1] += shifted >> 32

    def value(self) -> np.ndarray:
        """The sums, float64 (slots,), each rounded once."""
        totals = [sum(int(part) << (32 * k) for k, part in enumerate(row)) for row in self.limbs]
        # Python divides integers with one correct rounding.
        return np.array([total / 2**149 for total in totals], np.float64)
