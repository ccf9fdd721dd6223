"""What fp32 gave for some pictures, kept as it comes by, so that it is not run on them again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tnnquant.inputs.samples import Sample, Samples

__all__ = ["MOST_OTHERS", "References"]

#: Pictures that nobody asks for are kept if their number is below this, and their outputs take at most so many bytes.
MOST_OTHERS, _SMALL = 256, 64 << 10


class References:
    """Model outputs of fp32 by number of the source (:attr:`tnnquant.inputs.Samples.numbers`).

    Parameters
    ----------
    wanted : iterable of int
        Whose outputs :meth:`see` keeps. Of models of batch 1 only: what shares a batch may change.
    limit : int
        Bytes; what does not fit is computed again.
    keeps_small : bool
        :meth:`see` keeps small outputs of others, too, as class scores are, if their number is below
        :data:`MOST_OTHERS`.
    """

    def __init__(self, wanted: Iterable[int] = (), limit: int = 64 << 20, *, keeps_small: bool = False):
        self._wanted = frozenset(wanted)
        self._limit, self._bytes = limit, 0
        self._others = MOST_OTHERS if keeps_small else 0
        self._outputs: dict[int, Mapping[str, np.ndarray]] = {}

    @property
    def numbers(self) -> list[int]:
        """Of the pictures whose outputs were kept, sorted."""
        return sorted(self._outputs)

    def get(self, number: int) -> Mapping[str, np.ndarray] | None:
        """The outputs, if they were kept."""
        return self._outputs.get(number)

    def put(self, number: int, outputs: Mapping[str, np.ndarray]) -> None:
        """Keep outputs if there is room."""
        size = sum(array.nbytes for array in outputs.values())
        if number not in self._outputs and self._bytes + size <= self._limit:
            self._outputs[number] = outputs
            self._bytes += size

    def see(self, sample: object, outputs: Mapping[str, np.ndarray]) -> None:
        """Keep the outputs of a sample that is shown to the observers, if they are wanted; from any thread."""
        numbers: tuple[int, ...] = getattr(sample, "numbers", ())
        if len(numbers) != 1:
            return
        is_small = numbers[0] < self._others and sum(array.nbytes for array in outputs.values()) <= _SMALL
        if is_small or numbers[0] in self._wanted:
            self.put(numbers[0], dict(outputs))

    def fill(self, samples: Samples, run: Callable[[Sample], Mapping[str, np.ndarray]]) -> None:
        """Keep the small outputs that :meth:`see` was not shown, as the statistics were gathered elsewhere.

        Parameters
        ----------
        samples : Samples
            All that are calibrated with.
        run : callable
            Gives the outputs of fp32 for a sample.
        """
        missing = [number for number in samples.numbers if number < self._others and number not in self._outputs]
        for sample in samples.subset(missing) if missing else ():
            self.see(sample, run(sample))
            if sample.numbers[0] not in self._outputs:  # they are not small, or there is no room
                return
