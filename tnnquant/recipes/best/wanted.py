"""Outputs of the fp32 layers that int8 layers are to give, at some places of some samples: in half the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Wanted"]

#: What float16 holds well.
_LARGEST = 2.0**15


@dataclass(frozen=True, eq=False)
class Wanted:
    """Outputs of one layer.

    Attributes
    ----------
    values : float16 (windows, OC)
        In units.
    unit : float
        A power of two.
    """

    values: np.ndarray
    unit: float

    @classmethod
    def of(cls, outputs: np.ndarray) -> Wanted:
        """Of float32 (windows, OC), rounded to eleven bits."""
        most = max(float(np.abs(outputs).max(initial=0.0)), 1e-30)
        unit = 2.0 ** int(np.ceil(np.log2(most / _LARGEST)))
        return cls((outputs / np.float32(unit)).astype(np.float16), unit)

    @staticmethod
    def rows(parts: Sequence[Wanted]) -> np.ndarray:
        """The outputs of all samples, float32 (OC, windows)."""
        return np.ascontiguousarray(
            np.concatenate([part.values.astype(np.float32) * np.float32(part.unit) for part in parts]).T
        )
