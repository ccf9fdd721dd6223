"""Errors of one blob, gathered over pictures: SQNR, cosine, RMSE in steps of its scale."""

from __future__ import annotations

import numpy as np

from tnnquant.inspect.weights import BEST_DB

__all__ = ["ErrorSums", "as_rows"]


def as_rows(x: np.ndarray) -> np.ndarray:
    """A blob (N, C, ...) as C-contiguous rows of channels (P, C); no copy of channels-last memory."""
    if x.ndim == 4:
        x = x.transpose(0, 2, 3, 1)
    elif x.ndim > 2:
        x = np.moveaxis(x, 1, -1)
    elif x.ndim < 2:
        x = x.reshape(-1, 1)
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


class ErrorSums:
    """Sums over the values of a blob in which fp32 and int8 differ.

    Attributes
    ----------
    sums : float64 (5, C)
        By channel; see :func:`tnnquant.kernels.compare.sum_errors`.
    rows : int
        Values of a channel seen.
    per_sample : list of float
        SQNR of each sample, dB.
    """

    def __init__(self, channels: int):
        self.sums = np.zeros((5, channels))
        self.rows = 0
        self.per_sample: list[float] = []

    def add(self, reference: np.ndarray, other: np.ndarray) -> None:
        """Take in one sample; float32 (P, C) both, C-contiguous."""
        from tnnquant.kernels.compare import sum_errors

        sums = np.zeros_like(self.sums)
        sum_errors(reference, other, sums)
        self.per_sample.append(_db(sums[0].sum(), sums[3].sum()))
        self.rows += reference.shape[0]
        self.sums[:4] += sums[:4]
        np.maximum(self.sums[4], sums[4], out=self.sums[4])

    @property
    def sqnr_db(self) -> float:
        """``10 log10(sum r**2 / sum (r - o)**2)``; 160 where nothing differs."""
        return _db(self.sums[0].sum(), self.sums[3].sum())

    @property
    def cosine(self) -> float:
        """``sum r o / sqrt(sum r**2 sum o**2)``; 1 for two blobs of zeros, 0 if one alone is zero."""
        square_r, square_o, product = (float(row.sum()) for row in self.sums[:3])
        if square_r == 0 or square_o == 0:
            return 1.0 if square_r == square_o else 0.0
        return float(product / (square_r * square_o) ** 0.5)

    def rmse_steps(self, scale: np.ndarray) -> float:
        """Root of the mean squared error, each channel in units of its scale; channels of scale 0 do not count.

        Parameters
        ----------
        scale : float32 (1,) or (C,)
        """
        scale = np.broadcast_to(scale.astype(np.float64), self.sums.shape[1])
        alive = scale > 0
        if not alive.any() or not self.rows:
            return 0.0
        return float(np.sqrt((self.sums[3][alive] / scale[alive] ** 2).sum() / (self.rows * alive.sum())))

    def channel_db(self) -> np.ndarray:
        """SQNR of each channel, float64 (C,), dB; NaN where fp32 and int8 are both zero throughout."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = 10 * np.log10(self.sums[0] / self.sums[3])
        ratio = np.where(self.sums[3] == 0, BEST_DB, ratio)
        return np.where(self.sums[0] + self.sums[1] == 0, np.nan, np.clip(ratio, -BEST_DB, BEST_DB))


def _db(signal: float, noise: float) -> float:
    if noise <= signal * 10 ** (-BEST_DB / 10):
        return BEST_DB
    return float(max(-BEST_DB, 10 * np.log10(signal / noise))) if signal > 0 else -BEST_DB
