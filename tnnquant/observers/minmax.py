"""Min-max: the largest magnitude becomes the last code."""

from __future__ import annotations

import numpy as np

from tnnquant.kernels.walk import BINS
from tnnquant.observers.base import Observer, observer

__all__ = ["Asymmetric", "MinMax", "scale_of_threshold"]


def scale_of_threshold(peak: np.ndarray, threshold: np.ndarray | int) -> np.ndarray:
    """``((threshold + 0.5) / interval) / 127`` with ``interval = float32(2048 / peak)`` (docs/tnn-format.md, 7.6).

    Parameters
    ----------
    peak : float32 (slots,)
        Largest magnitude; where it is 0 the result means nothing.
    threshold : int (slots,) or int
        Bin, 0..2047.
    """
    with np.errstate(divide="ignore", over="ignore"):
        interval = (np.float32(BINS) / peak).astype(np.float32)
    return ((np.asarray(threshold, np.float64) + 0.5) / interval.astype(np.float64) / 127).astype(np.float32)


@observer(0, "minmax")
class MinMax(Observer):
    """Symmetric. TNN treats it as the histogram's last bin: the scale is ``peak * 2047.5/2048 / 127``."""

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        return scale_of_threshold(self.peak, BINS - 1), np.zeros(self.slots, np.int8)


@observer(3, "asymmetric")
class Asymmetric(Observer):
    """From the lowest to the highest value, 0 included, in 254 steps; the highest value has the code 127."""

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.minimum(self.low, np.float32(0)), np.maximum(self.high, np.float32(0))
        scale = ((high - low) / np.float32(254)).astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            steps = np.where(self.alive, high * (np.float32(1) / scale), np.float32(0)).astype(np.float32)
        return scale, (127 - np.floor(steps.astype(np.float64) + 0.5)).astype(np.int8)
