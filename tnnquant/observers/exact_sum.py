"""Sums of float32 values that do not depend on their order, because nothing is rounded."""

from __future__ import annotations

import numpy as np

__all__ = ["ExactSum"]


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
