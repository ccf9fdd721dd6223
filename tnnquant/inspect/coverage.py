"""Are these pictures enough? How much scales move between half of them and all, and which picture stands alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.engine.executor import Executor
from tnnquant.inspect.measure import as_rows

if TYPE_CHECKING:
    from tnnquant.inputs.samples import SampleSource

__all__ = ["Coverage", "Lone", "measure_coverage"]

Progress = Callable[[str, int, int], None]
#: A blob has settled if the median of its scales moves by no more; the samples are enough if most blobs have.
SETTLED, MOST = 0.05, 0.9
#: A sample stands alone in a blob if its peak is that many times the second highest.
ALONE = 1.25


@dataclass(frozen=True)
class Lone:
    """A sample that sets the maximum of blobs by itself.

    Attributes
    ----------
    name : str
    blobs : int
        In how many blobs its peak is :data:`ALONE` times that of any other sample.
    worst : str
        The blob where it is furthest ahead.
    ratio : float
        By how much there.
    """

    name: str
    blobs: int
    worst: str
    ratio: float


@dataclass(frozen=True)
class Coverage:
    """How settled the scales are.

    Attributes
    ----------
    samples : int
    method : str
        Blob method of the scales.
    moves : dict of str to float
        By blob: median over its scales of ``|1 - scale of half / scale of all|``.
    lone : list of Lone
        Those of most blobs first.
    """

    samples: int
    method: str
    moves: Mapping[str, float]
    lone: list[Lone]

    @property
    def settled(self) -> float:
        """Share of blobs that have settled."""
        return sum(move <= SETTLED for move in self.moves.values()) / max(1, len(self.moves))

    @property
    def is_enough(self) -> bool:
        """Whether more samples would hardly change the scales."""
        return self.samples > 1 and self.settled >= MOST

    @property
    def verdict(self) -> str:
        """In a sentence."""
        share = (
            f"{100 * self.settled:.0f} % of {len(self.moves)} blobs move by at most {100 * SETTLED:.0f} % from half of "
            f"the {self.samples} inputs to all"
        )
        return f"enough: {share}" if self.is_enough else f"add more: only {share}"

    def as_dict(self) -> dict:
        """As JSON types."""
        return {
            "samples": self.samples,
            "method": self.method,
            "enough": self.is_enough,
            "settled": round(self.settled, 4),
            "moves": {name: round(move, 5) for name, move in self.moves.items()},
            "lone": [{"name": lone.name, "blobs": lone.blobs, "worst_blob": lone.worst, "ratio": round(lone.ratio, 3)}
                     for lone in self.lone],
        }  # fmt: skip


def measure_coverage(
    executor: Executor, slots: Mapping[str, int], method: str, samples: SampleSource,
    progress: Progress | None = None,
) -> Coverage:
    """Find the scales of half of the samples (every second one) and of all.

    Parameters
    ----------
    executor : Executor
        Of an fp32 network.
    slots : mapping of str to int
        Scales of each blob: 1 or its channels.
    method : str
        Name of an observer.
    samples : re-iterable of Sample
    progress : callable (stage, done, total), optional
    """
    from tnnquant.observers import create_observer, finish

    floats = [name for name in slots if executor.specs[name].dtype == DataType.FLOAT]
    whole, half = ({name: create_observer(method, slots[name]) for name in floats} for _ in range(2))
    passes = max((observer.passes for observer in whole.values()), default=0)
    peaks: dict[str, list[float]] = {name: [] for name in floats}
    names: list[str] = []
    for number in range(passes):
        for index, sample in enumerate(samples):
            if number == 0:
                names.append(sample.name)

            def tap(name: str, array: np.ndarray, number: int = number, index: int = index) -> None:
                if name not in whole:
                    return
                whole[name].update(array, number)
                if index % 2 == 0:
                    half[name].update(array, number)
                if number == 0:
                    rows = as_rows(array)
                    peaks[name].append(float(max(-rows.min(), rows.max())))

            executor.run_sample(sample, tap)
            if progress:
                progress("coverage", index + 1, len(samples))
    finish([*whole.values(), *half.values()])
    moves = {name: _move(half[name].params()[0], whole[name].params()[0]) for name in floats}
    return Coverage(len(names), method, moves, _lone(names, peaks))


def _move(half: np.ndarray, whole: np.ndarray) -> float:
    alive = whole > 0
    return float(np.median(np.abs(1 - half[alive].astype(np.float64) / whole[alive]))) if alive.any() else 0.0


def _lone(names: list[str], peaks: Mapping[str, list[float]]) -> list[Lone]:
    found: Counter[int] = Counter()
    worst: dict[int, tuple[float, str]] = {}
    for blob, values in peaks.items():
        if len(values) < 2:
            continue
        order = np.argsort(values)
        first, second = int(order[-1]), values[order[-2]]
        ratio = values[first] / second if second > 0 else 1.0
        if ratio >= ALONE:
            found[first] += 1
            worst[first] = max(worst.get(first, (0.0, "")), (ratio, blob))
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [Lone(names[index], count, worst[index][1], worst[index][0]) for index, count in ranked]
