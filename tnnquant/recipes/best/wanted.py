"""Outputs of the fp32 layers that int8 layers are to give, at some places of some samples: a byte each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Wanted"]

_STEPS = 255


@dataclass(frozen=True, eq=False)
class Wanted:
    """Outputs of one layer for one sample, each channel in 256 steps from its least to its largest value.

    What is made of them are means over many places, in which the rounding disappears; both ends, of which an activation
    makes many values, are exact.

    Attributes
    ----------
    codes : uint8 (windows, OC)
    low, step : float32 (OC,)
        Values are ``low + codes * step``.
    """

    codes: np.ndarray
    low: np.ndarray
    step: np.ndarray

    @classmethod
    def of(cls, outputs: np.ndarray) -> Wanted:
        """Of float32 (windows, OC)."""
        low = outputs.min(axis=0)
        step = (outputs.max(axis=0) - low) / np.float32(_STEPS)
        codes = (outputs - low) / np.where(step > 0, step, np.float32(1))
        return cls(np.rint(codes, out=codes).astype(np.uint8), low, step)

    @staticmethod
    def rows(parts: Sequence[Wanted]) -> np.ndarray:
        """The outputs of all samples, float32 (OC, windows)."""
        return np.ascontiguousarray(
            np.concatenate([part.codes.astype(np.float32) * part.step + part.low for part in parts]).T
        )
