"""How much of int8 is used: levels, saturation, range, of the codes of weights and blobs. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["LEVELS", "CodeUsage", "count_codes", "usage_of_counts"]

#: Codes a calibrated symmetric tensor may have: -127..127.
LEVELS = 255


@dataclass(frozen=True, eq=False)
class CodeUsage:
    """Of every channel (or of the whole, with one channel).

    Attributes
    ----------
    low, high : int64 (n,)
        Smallest and largest code that occurs; 0 and 0 where nothing does.
    saturated : float64 (n,)
        Share of codes at the ends: 127, and -128 and -127 unless these mean 0 or almost 0.
    unused : int64 (n,)
        Of the 255 codes -127..127, those that do not occur.
    zero : float64 (n,)
        Share of the code that means 0.
    """

    low: np.ndarray
    high: np.ndarray
    saturated: np.ndarray
    unused: np.ndarray
    zero: np.ndarray

    def as_dict(self) -> dict:
        """Lists with one value per channel."""
        return {
            "low_code": self.low.tolist(),
            "high_code": self.high.tolist(),
            "saturated": [round(float(v), 6) for v in self.saturated],
            "unused_levels": self.unused.tolist(),
            "zero": [round(float(v), 6) for v in self.zero],
        }


def count_codes(codes: np.ndarray) -> np.ndarray:
    """How often each code occurs in each row.

    Parameters
    ----------
    codes : int8 (channels, n)

    Returns
    -------
    int64 (channels, 256)
        Column 0 is code -128.
    """
    channels = codes.shape[0]
    place = codes.astype(np.int32) + 128 + 256 * np.arange(channels, dtype=np.int32)[:, None]
    return np.bincount(place.reshape(-1), minlength=256 * channels).reshape(channels, 256)


def usage_of_counts(counts: np.ndarray, zero: np.ndarray | int = 0) -> CodeUsage:
    """What counts of codes say.

    Parameters
    ----------
    counts : int64 (channels, 256)
    zero : int or int8 (1,) or (channels,)
        The code that means 0. Where it is one of the lowest two, after a ReLU, these are no end: nothing was cut off.
    """
    occurs = counts > 0
    total = np.maximum(counts.sum(axis=1), 1)
    some = occurs.any(axis=1)
    low = np.where(some, occurs.argmax(axis=1) - 128, 0)
    high = np.where(some, 127 - occurs[:, ::-1].argmax(axis=1), 0)
    means = np.broadcast_to(np.asarray(zero, np.int64).reshape(-1), len(counts))
    ends = np.where(means > -127, counts[:, 0] + counts[:, 1], 0) + counts[:, 255]
    zeros = counts[np.arange(len(counts)), means + 128]
    return CodeUsage(low, high, ends / total, LEVELS - occurs[:, 1:].sum(axis=1), zeros / total)
