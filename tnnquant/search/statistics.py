"""Statistics made once and shared by all trials: in the same two passes for every method and number of scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.engine.executor import Executor
from tnnquant.graph import QuantParams
from tnnquant.inputs.split import Split
from tnnquant.quantization.calibrate import calibrate
from tnnquant.quantization.plan import QuantPlan

if TYPE_CHECKING:
    from tnnquant.observers.base import Observer

__all__ = ["StatisticsPool"]

#: Blob, method, number of scales.
Key = tuple[str, str, int]
Progress = Callable[[str, int, int], None]


class StatisticsPool:
    """Observers of every kind that some plan needs, and the scales they lead to.

    Parameters
    ----------
    executor : Executor
        Of the fp32 graph.
    split : Split
        Of its pictures that calibrate.
    progress : callable (stage, done, total), optional

    Attributes
    ----------
    states : dict of (blob, method, slots) to dict of str to ndarray
        What the observers have seen (:meth:`tnnquant.observers.Observer.state`).
    """

    def __init__(self, executor: Executor, split: Split, progress: Progress | None = None):
        self.states: dict[Key, dict[str, np.ndarray]] = {}
        self._executor, self._split, self._progress = executor, split, progress
        self._params: dict[Key, QuantParams] = {}

    def gather(self, plans: Iterable[QuantPlan]) -> bool:
        """Show the samples to the observers that the plans need and that have not seen them; False if there are none.

        All int8 blobs are observed, also those whose scales come from others: layers kept in fp32 change that.
        """
        wanted = {key for plan in plans for key in _keys(plan)}
        missing = sorted(wanted - self.states.keys())
        if not missing:
            return False
        from tnnquant.observers import create_observer

        observers: dict[str, _Several] = {}
        made = {}
        for key in missing:
            made[key] = create_observer(*key[1:])
            observers.setdefault(key[0], _Several()).add(made[key])
        calibrate(
            self._executor, self._split.calibrating, observers, self._progress, references=self._split.references
        )
        self.states |= {key: observer.state() for key, observer in made.items()}
        return True

    def observers(self, plan: QuantPlan) -> dict:
        """Observers that have seen the samples, of the blobs whose statistics the plan needs."""
        from tnnquant.observers import create_observer

        found = {}
        for name in plan.observed():
            key = _key(plan, name)
            found[name] = create_observer(*key[1:])
            found[name].restore(self.states[key])
        return found

    def params(self, plan: QuantPlan) -> dict[str, QuantParams]:
        """The scales of the blobs whose statistics the plan needs; thresholds are searched once."""
        from tnnquant.observers import finish

        keys = {name: _key(plan, name) for name in plan.observed()}
        if any(key not in self._params for key in keys.values()):
            observers = {name: o for name, o in self.observers(plan).items() if keys[name] not in self._params}
            finish(observers.values())
            self._params |= {keys[name]: QuantParams(*observer.params()) for name, observer in observers.items()}
        return {name: self._params[key] for name, key in keys.items()}


def _key(plan: QuantPlan, blob: str) -> Key:
    return blob, plan.blobs[blob].method, plan.blobs[blob].slots


def _keys(plan: QuantPlan) -> Iterable[Key]:
    return (_key(plan, blob) for blob in plan.blobs)


class _Several:
    """Observers of one blob as one."""

    def __init__(self) -> None:
        self._members: list = []
        self.passes = self.slots = 0

    def add(self, observer: Observer) -> None:
        self._members.append(observer)
        self.passes = max(self.passes, observer.passes)
        self.slots += observer.slots

    def update(self, x: np.ndarray, number: int) -> None:
        for member in self._members:
            if number < member.passes:
                member.update(x, number)


def as_arrays(states: Mapping[Key, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """States as arrays by name, for a file; :func:`from_arrays` reads them."""
    return {
        "\x1f".join((blob, method, str(slots), name)): np.asarray(array)
        for (blob, method, slots), state in states.items()
        for name, array in state.items()
    }


def from_arrays(arrays: Mapping[str, np.ndarray]) -> dict[Key, dict[str, np.ndarray]]:
    """The states that :func:`as_arrays` named."""
    states: dict[Key, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        blob, method, slots, field = name.split("\x1f")
        states.setdefault((blob, method, int(slots)), {})[field] = array
    return states
