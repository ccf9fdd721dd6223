"""The mean of the samples' peaks: an outlier in one sample does not decide the range."""

from __future__ import annotations

import numpy as np

from tnnquant.observers.base import observer
from tnnquant.observers.sample_mean import SampleMean

__all__ = ["AveragePeak"]

_LEVELS = np.float32(127)


@observer(12, "average")
class AveragePeak(SampleMean):
    """Symmetric min-max averaged over batches: the mean of the batches' largest magnitudes becomes code 127."""

    def of_sample(self, x: np.ndarray) -> np.ndarray:
        axes = tuple(i for i in range(x.ndim) if i != 1) if self.slots > 1 else None
        peak = np.maximum(np.abs(x.max(axis=axes)), np.abs(x.min(axis=axes)))
        return np.asarray(peak, np.float32).reshape(self.slots)

    def _params(self) -> tuple[np.ndarray, np.ndarray]:
        return (self.mean() / _LEVELS).astype(np.float32), np.zeros(self.slots, np.int8)
