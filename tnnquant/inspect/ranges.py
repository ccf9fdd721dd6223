"""What the fp32 blobs hold, and where each method would clip them.

The fp32 network runs over the samples once or twice while every registered observer watches every blob, as one slot:
the histogram and the thresholds of all methods are then of the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.engine.executor import Executor

if TYPE_CHECKING:
    from tnnquant.inputs.samples import Sample, SampleSource

__all__ = ["BlobRanges", "Threshold", "gather_ranges"]

Progress = Callable[[str, int, int], None]
#: Bars of the histogram that is kept, of the observers' 2048 bins.
BARS = 128
HISTOGRAM = "kl"


@dataclass(frozen=True)
class Threshold:
    """What one method makes of a blob with one scale.

    Attributes
    ----------
    method : str
    low, high : float
        Real values that become codes -127 and 127.
    clipped : float
        Share of the non-zero values whose magnitude is beyond; 0 for an asymmetric range.
    """

    method: str
    low: float
    high: float
    clipped: float

    def as_dict(self) -> dict:
        """As JSON types."""
        return {"method": self.method, "low": float(f"{self.low:.6g}"), "high": float(f"{self.high:.6g}"),
                "clipped": round(self.clipped, 6)}  # fmt: skip


@dataclass(frozen=True, eq=False)
class BlobRanges:
    """The values of one fp32 blob over all samples.

    Attributes
    ----------
    low, high : float32 (C,)
        Range of each channel.
    counts : int64 (BARS,)
        Magnitudes between 0 and the peak in equal steps; zeros are not counted.
    thresholds : list of Threshold
        One per method, in the order of their numbers.
    """

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    thresholds: list[Threshold]

    @property
    def peak(self) -> float:
        """Largest magnitude."""
        return float(max(np.abs(self.low).max(initial=0), np.abs(self.high).max(initial=0)))

    def as_dict(self) -> dict:
        """As JSON types."""
        return {
            "low": [float(f"{v:.6g}") for v in self.low],
            "high": [float(f"{v:.6g}") for v in self.high],
            "peak": float(f"{self.peak:.6g}"),
            "histogram": self.counts.tolist(),
            "methods": [threshold.as_dict() for threshold in self.thresholds],
        }


def gather_ranges(
    executor: Executor, names: Iterable[str], samples: SampleSource, progress: Progress | None = None
) -> dict[str, BlobRanges]:
    """Watch fp32 blobs.

    Parameters
    ----------
    executor : Executor
        Of an fp32 network.
    names : iterable of str
        Blobs to watch; those that are not float are skipped.
    samples : re-iterable of Sample
    progress : callable (stage, done, total), optional
    """
    watched = {name: _Watch(executor.specs[name].dims) for name in names if _is_float(executor, name)}
    passes = max((watch.passes for watch in watched.values()), default=0)
    for number in range(passes):
        for count, sample in enumerate(samples, 1):
            _run(executor, sample, watched, number)
            if progress:
                progress("ranges" if number == 0 else "histograms", count, len(samples))
    from tnnquant.observers import finish

    finish(observer for watch in watched.values() for observer in watch.methods.values())
    return {name: watch.result() for name, watch in watched.items()}


def _is_float(executor: Executor, name: str) -> bool:
    spec = executor.specs.get(name)
    return spec is not None and spec.dtype == DataType.FLOAT and spec.value is None


def _run(executor: Executor, sample: Sample, watched: Mapping[str, _Watch], number: int) -> None:
    def tap(name: str, array: np.ndarray) -> None:
        if name in watched and array.size:
            watched[name].update(array, number)

    executor.run_sample(sample, tap)


class _Watch:
    """All observers of one blob."""

    def __init__(self, dims: tuple[int, ...]):
        from tnnquant.observers import create_observer, method_codes
        from tnnquant.observers.kl import KL

        self.channels = create_observer("minmax", dims[1] if len(dims) > 1 else 1)
        self.methods = {name: create_observer(name, 1) for name in method_codes().values()}
        self.histogram = KL(1)
        self.methods[HISTOGRAM] = self.histogram
        self.passes = max(observer.passes for observer in self.methods.values())

    def update(self, array: np.ndarray, number: int) -> None:
        for observer in (self.channels, *self.methods.values()):
            if number < observer.passes:
                observer.update(array, number)

    def result(self) -> BlobRanges:
        counts = np.asarray(self.histogram.counts, np.int64).reshape(-1)
        low, high = self.channels.low, self.channels.high
        peak = float(max(np.abs(low).max(), np.abs(high).max()))
        thresholds = []
        for name, observer in self.methods.items():
            scale, zero = (float(values[0]) for values in observer.params())
            ends = (-127 - zero) * scale, (127 - zero) * scale
            clipped = _share_beyond(counts, peak, ends[1]) if zero == 0 and peak > 0 else 0.0
            thresholds.append(Threshold(name, *ends, clipped))
        return BlobRanges(low, high, counts.reshape(BARS, -1).sum(axis=1), thresholds)


def _share_beyond(counts: np.ndarray, peak: float, threshold: float) -> float:
    """Share of a histogram, int64 (n,) between 0 and ``peak``, beyond a threshold."""
    first = int(np.ceil(threshold / peak * counts.size))
    return float(counts[first:].sum() / max(int(counts.sum()), 1)) if first < counts.size else 0.0
