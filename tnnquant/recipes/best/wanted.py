"""Outputs of fp32 layers that int8 layers are to give, at some places of some samples: in a quarter of the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Wanted"]

@dataclass(frozen=True, eq=False)
class Wanted:
    """Outputs of one layer.

    Attributes
    ----------
    values : int8 (windows, OC)
    unit : float32 (OC,)
        What 1 means in each channel. What is wanted of them are means.
    """

    values: np.ndarray
    unit: np.ndarray

    @classmethod
    def of(cls, outputs: np.ndarray) -> Wanted:
        """Of float32 (windows, OC), rounded to 127 steps of the channel's largest magnitude."""
        unit = np.abs(outputs).max(axis=0, initial=1e-30) / np.float32(127)
        return cls(np.rint(outputs / unit).astype(np.int8), unit)

    @staticmethod
    def rows(parts: Sequence[Wanted]) -> np.ndarray:
        """The outputs of all samples, float32 (OC, windows), C-contiguous."""
        return np.ascontiguousarray(np.concatenate([part.values * part.unit for part in parts]).T)
