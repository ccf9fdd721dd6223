"""The user's own metric: what it is given, picture by picture, and what the verdict makes of its value.

Its unit is the user's. Without a target the value of int8 is compared with that of fp32 on the same pictures, relative
to the latter, by the thresholds of the agreement of best classes: a share of what fp32 reaches. Where fp32 gives 0 (an
error against fp32 itself), there is nothing to be relative to, and without a target the value is only shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.metric import Metric
from tnnquant.base.wording import parameter
from tnnquant.errors import MetricError
from tnnquant.verdict.result import BROKEN, DOUBTFUL, GOOD, Check

if TYPE_CHECKING:
    from tnnquant.inputs.samples import Sample

__all__ = ["GatheredOutputs", "Goal", "MetricScore"]

#: Shares of fp32's value that may be lost: good up to the first, broken beyond the second.
GOOD_DROP, BROKEN_DROP = 0.05, 0.25


@dataclass(frozen=True)
class MetricScore:
    """A metric of both models on the same pictures.

    Attributes
    ----------
    name : str
    lower_is_better : bool
    fp32, int8 : float
        Its value; None: int8's outputs allow none.
    drop : float
        How much worse int8 is, in the unit of the metric; negative: it is better.
    pictures : int
    target : float or None
        Largest drop that was asked for.
    failure : str
        Why there is no value of int8.
    """

    name: str
    lower_is_better: bool
    fp32: float
    int8: float | None
    drop: float | None
    pictures: int
    target: float | None = None
    failure: str = ""

    def as_dict(self) -> dict:
        """As JSON types."""
        return asdict(self)

    @property
    def allowed(self) -> float | None:
        """The largest drop that is good, in the unit of the metric; None: that cannot be said.

        One picture of a few may differ, as with the agreement of best classes.
        """
        if self.target is not None:
            return self.target
        return max(GOOD_DROP, 1 / max(self.pictures, 1)) * abs(self.fp32) if self.fp32 else None

    @property
    def is_reached(self) -> bool:
        """Whether the drop is within the target, or good without one; True where that cannot be said."""
        if self.drop is None:
            return False
        return self.allowed is None or self.drop <= self.allowed

    def check(self) -> Check:
        """The figure beside its thresholds."""
        if self.drop is None:
            return Check(BROKEN, self.failure, "metric")
        shown = f"{self.name} {self.int8:.6g}, fp32 {self.fp32:.6g}"
        change = f"{'worse' if self.drop > 0 else 'better'} by {abs(self.drop):.4g}" if self.drop else "the same"
        if self.allowed is None:
            hint = f"fp32 gives 0: give {parameter('target')} for a judgement"
            if self.drop < 0 and not self.lower_is_better:
                hint += f", and {parameter('lower_is_better', True)} if it is an error"
            return Check(GOOD, f"{shown}: {change} ({hint})", "metric")
        broken = BROKEN_DROP * abs(self.fp32)
        is_lost = self.fp32 != 0 and self.drop > max(broken, self.allowed)
        status = GOOD if self.is_reached else BROKEN if is_lost else DOUBTFUL
        source = " worse" if self.target is None else f", as {parameter('target')} says"
        limits = [f"good up to {self.allowed:.4g}{source}"]
        limits += [f"broken above {broken:.4g}"] if self.fp32 and broken >= self.allowed else []
        return Check(status, f"{shown}: {change} ({', '.join(limits)})", "metric")


@dataclass(frozen=True)
class Goal:
    """What models are measured by beside the built-in figures.

    Attributes
    ----------
    metric : Metric
    target : float or None
        Largest drop against fp32, in the unit of the metric.
    labels : mapping of int to int
        Right class by number of the calibration picture, for those who choose between models.
    """

    metric: Metric
    target: float | None = None
    labels: Mapping[int, int] = field(default_factory=dict)


class GatheredOutputs:
    """The outputs of both models for all pictures, as a metric wants them.

    Parameters
    ----------
    names : iterable of str
        Outputs of the model.
    """

    def __init__(self, names: Iterable[str]):
        self.outputs = tuple(names)
        # Of fp32, of int8.
        self._items: tuple[dict[str, list], ...] = tuple({name: [] for name in self.outputs} for _ in range(2))
        self.names: list[str] = []
        self.numbers: list[int] = []

    def add(self, sample: Sample, wanted: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> None:
        """Keep the fresh items of a sample; outputs whose first axis is the batch's are cut along it."""
        batch = next((len(array) for array in sample.arrays.values() if array.ndim), 1)
        for held, outputs in zip(self._items, (wanted, got), strict=True):
            for name in self.outputs:
                array = np.asarray(outputs[name])
                is_batched = array.ndim > 1 and len(array) == batch
                # Copies: what an executor gives may be its own memory.
                held[name] += [np.array(item) for item in (array[: sample.fresh] if is_batched else [array])]
        numbers = tuple(getattr(sample, "numbers", ()))
        self.names += [sample.name] * sample.fresh
        self.numbers += numbers if len(numbers) == sample.fresh else [-1] * sample.fresh

    def by_number(self, labels: Mapping[int, int] | None) -> list[int] | None:
        """Right classes in the order of the pictures, -1 where there is none; None: there are none at all."""
        found = [(labels or {}).get(number, -1) for number in self.numbers]
        return found if any(label >= 0 for label in found) else None

    def score(
        self, goal: Goal, labels: Sequence[int] | None = None, names: Sequence[str] = ()
    ) -> MetricScore:
        """The metric of both models.

        Parameters
        ----------
        goal : Goal
        labels : sequence of int, optional
            Right class of each picture.
        names : sequence of str
            Of all sources, by number; by default pictures are called as their samples.

        Raises
        ------
        MetricError
            It fails for fp32.
        """
        metric = goal.metric
        classes = None if labels is None else np.array(labels, np.int64)
        known = zip(self.numbers, self.names, strict=True)
        names = [names[number] if 0 <= number < len(names) else name for number, name in known]
        # Copies: a metric that changes what it is given does not change what the next call is given.
        own = _value(metric, self._stacked(0), self._stacked(0), classes, names)
        shared = metric.name, metric.lower_is_better, own
        try:
            value = _value(metric, self._stacked(1), self._stacked(0), classes, names)
        except MetricError as error:
            if self._is_sound():
                raise
            # NaN among the outputs of int8 is the model's fault, not the metric's.
            return MetricScore(*shared, None, None, len(names), goal.target, f"{error}: NaN or infinity in the outputs")
        return MetricScore(*shared, value, metric.drop(value, own), len(names), goal.target)

    def _stacked(self, which: int) -> dict[str, np.ndarray]:
        return {name: _stacked(items) for name, items in self._items[which].items()}

    def _is_sound(self) -> bool:
        items = (item for held in self._items[1].values() for item in held)
        return all(np.isfinite(item).all() for item in items if item.dtype.kind == "f")


def _value(metric: Metric, outputs: dict, references: dict, labels: np.ndarray | None, names: Sequence[str]) -> float:
    return metric.value(outputs, references, None if labels is None else labels.copy(), names)


def _stacked(items: list[np.ndarray]) -> np.ndarray:
    """Items of one shape in one array, (pictures, ...); others as an array of arrays."""
    if len({item.shape for item in items}) <= 1:
        return np.stack(items) if items else np.zeros(0)
    found = np.empty(len(items), object)
    for position, item in enumerate(items):
        found[position] = item
    return found
