"""Inputs whose values lie on a grid of at most 256 levels, as those of pictures do: int8 can hold them exactly.

A picture has whole numbers 0..255, less a mean, times a scale. With that scale for a step, and a code for 0 that puts
all levels within -128..127, rounding only moves each channel by a constant, the part of a step by which its mean is no
whole number. Biases make up for that, and nothing else is lost. Values half way between two codes (pictures less 127.5)
are moved by half a step first, in the copy that shifts them (:mod:`tnnquant.recipes.best.shifted_copies`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

__all__ = ["Grid", "grids_of"]

#: Samples whose values are looked at one by one, to find the steps.
_LOOKED_AT = 8
#: Levels that a channel must have in these samples, and at most so many steps between the lowest and the highest.
_FEWEST, _STEPS = 32, 255
#: Of a step: how far from the grid a value may be; how near to the middle between two codes counts as half way.
_EXACT, _TIE = 0.01, 0.05
_LOWEST, _HIGHEST = -128, 127


@dataclass(frozen=True, eq=False)
class Grid:
    """The levels of an input.

    Attributes
    ----------
    step : float64 (C,)
    zero : int64 (C,)
        A code for 0 with which all levels are codes; 0 where at most one level saturates without one.
    half : float64 (C,)
        What values are moved by before they are rounded, in steps: 0.5 where they lie half way between two codes.
    """

    step: np.ndarray
    zero: np.ndarray
    half: np.ndarray

    @property
    def is_shifted(self) -> bool:
        """Whether 0 needs another code than 0."""
        return bool(self.zero.any())


def grids_of(samples: Sequence, names: Collection[str]) -> dict[str, Grid]:
    """The inputs that lie on a grid in all samples.

    Parameters
    ----------
    samples : sequence of Sample
    names : collection of str
        Inputs of rank 4.
    """
    found = {name: _grid([sample.arrays[name] for sample in samples]) for name in sorted(names)}
    return {name: grid for name, grid in found.items() if grid is not None}


def _grid(arrays: Sequence[np.ndarray]) -> Grid | None:
    if arrays[0].ndim != 4 or arrays[0].dtype != np.float32:
        return None
    channels = [_channel([array[:, c] for array in arrays]) for c in range(arrays[0].shape[1])]
    if any(channel is None for channel in channels):
        return None
    steps, zeros, halves = zip(*(channel for channel in channels if channel is not None), strict=True)
    return Grid(np.array(steps), np.array(zeros, np.int64), np.array(halves))


def _channel(parts: Sequence[np.ndarray]) -> tuple[float, int, float] | None:
    """The step of one channel, the code for 0, and what values are moved by."""
    looked_at = [parts[i] for i in np.linspace(0, len(parts) - 1, min(_LOOKED_AT, len(parts))).astype(int)]
    levels = reduce(np.union1d, (np.unique(part) for part in looked_at)).astype(np.float64)
    if not np.isfinite(levels).all() or levels.size < _FEWEST:
        return None
    gaps = np.diff(levels)
    largest = max(abs(levels[0]), abs(levels[-1]))
    gaps = gaps[gaps > 1e-5 * largest]  # one level, rounded in two ways
    if not gaps.size:
        return None
    least = float(gaps.min())
    step = float((levels[-1] - levels[0]) / max(round((levels[-1] - levels[0]) / least), 1))
    low, high = np.inf, -np.inf
    for part in parts:
        places = (part - levels[0]) / step
        if not np.abs(places - np.rint(places)).max() <= _EXACT:  # also NaN
            return None
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    if round((high - low) / step) > _STEPS:
        return None
    part = low / step - np.floor(low / step)
    half = 0.5 if abs(part - 0.5) < _TIE else 0.0
    first, last = int(np.rint(low / step + half)), int(np.rint(high / step + half))
    if not half and first >= _LOWEST and last <= _HIGHEST + 1:
        return step, 0, half
    zero = _LOWEST + (_STEPS - (last - first)) // 2 - first
    return (step, zero, half) if _LOWEST <= zero <= (-1 if half else 0) else None
