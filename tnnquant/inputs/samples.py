"""Calibration samples: files decoded ahead on threads, fed to the model in a fixed order.

A model of batch N > 1 is fed N pictures (or rows of N tensors) at a time, in order; TNN's tool fills the first item
only and leaves the others zero. Where the pictures do not fill the last batch, it is completed with the first ones
again, so that no picture counts more than twice and nothing that is not a picture counts at all.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np

from tnnquant.base.threads import available_cores
from tnnquant.base.wording import dims_of, parameter
from tnnquant.errors import InputError
from tnnquant.inputs.config import InputConfig
from tnnquant.inputs.digest import digest_files
from tnnquant.inputs.display import count_of, printable, quoted
from tnnquant.inputs.grouping import group_files
from tnnquant.inputs.loading import Loaded, Loader
from tnnquant.inputs.normalize import PictureInput
from tnnquant.inputs.statistics import FedStatistics, plausibility_warning

__all__ = ["Sample", "Samples"]

#: Most values of a model input; more is a mistake in the model, or an attack.
_LARGEST_INPUT = 1 << 31
_MOST_WORKERS = 4


@dataclass(frozen=True, eq=False)
class Sample:
    """One batch of model inputs.

    Attributes
    ----------
    name : str
        Of the file, or of the first and last file of a batch.
    arrays : dict of str to ndarray
        By input name, in the input's dims; float32, or int32 / int8 where the model says so. Arrays of 4 dims are
        stored channels-last. They are the receiver's: nothing else refers to them.
    fresh : int
        How many items of the batch, from the first on, were not fed before in this pass.
    numbers : tuple of int
        Which of the samples' sources each fresh item is from, see :attr:`Samples.names`.
    again : callable or None
        Gives arrays equal to ``arrays``, new ones each time, from what takes less memory than they do; None: it is not
        known how.
    """

    name: str
    arrays: dict[str, np.ndarray]
    fresh: int = 1
    numbers: tuple[int, ...] = ()
    again: Callable[[], dict[str, np.ndarray]] | None = None


class SampleSource(Protocol):
    """Samples that may be gone through again and again, in the same order: :class:`Samples`, or a list."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...


@dataclass
class _Cache:
    """Decoded sources by number, up to a number of bytes; shared by samples and their subsets."""

    limit: int
    held: dict[int, Loaded] = field(default_factory=dict)
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, number: int, loaded: Loaded) -> None:
        with self.lock:
            if self.bytes + loaded.nbytes <= self.limit:
                self.held[number] = loaded
                self.bytes += loaded.nbytes


class Samples:
    """Calibration samples of a model, to be iterated over once per pass: the same ones in the same order each time.

    Decoded pictures are kept for the next pass up to ``config.cache_bytes``. Iterating runs a few files ahead on
    threads, which end with the loop, however it ends.

    Parameters
    ----------
    files : iterable of path
        From :func:`~tnnquant.inputs.scan.scan`.
    specs : mapping of str to InputSpec
        ``dims`` and ``dtype`` of each model input.
    config : InputConfig, optional
    workers : int, optional
        Threads that decode; default: one per core, at most 4.

    Attributes
    ----------
    batch : int
        Rows of an input that pictures (or single rows of tensors) are packed into.
    skipped : list of str
        Under ``skip_bad``: the files that could not be used, each with the reason; known after the first pass.

    Raises
    ------
    InputError
        The files do not fit the inputs, as far as their names tell (nothing is read yet).
    ConfigError
        ``mean`` or ``scale`` have another number of values than the input has channels.
    """

    def __init__(
        self, files: Iterable, specs: Mapping, config: InputConfig | None = None, *, workers: int | None = None
    ):
        self.config = config or InputConfig()
        self.specs = dict(specs)
        _check_specs(self.specs)
        first = {spec.dims[0] for spec in self.specs.values()}
        self.batch = first.pop() if len(first) == 1 else 1
        self._sources = group_files([Path(file) for file in files], self.specs)
        self._loader = Loader(self.specs, self.config, packs=self.batch > 1)
        self._workers = max(1, min(workers or available_cores(), _MOST_WORKERS))
        self._order = tuple(range(len(self._sources)))
        self._cache = _Cache(self.config.cache_bytes)
        self._digests: list[str] = []
        self._bad: set[int] = set()
        self._start_over()

    def _start_over(self) -> None:
        self.skipped: list[str] = []
        self._seen: set[int] = set()
        self._statistics = {name: FedStatistics() for name in self.specs}
        self._notes: dict[str, list[str]] = {}
        self._length: int | None = None
        self._repeated = 0

    @property
    def numbers(self) -> tuple[int, ...]:
        """The sources that are fed, in order: all of them, or those of a :meth:`subset`."""
        return self._order

    @property
    def usable(self) -> tuple[int, ...]:
        """Those of :attr:`numbers` that have not turned out to be unusable, under ``skip_bad``, so far."""
        return tuple(number for number in self._order if number not in self._bad)

    @property
    def names(self) -> list[str]:
        """Of all sources (files, or groups of files for several inputs), by number."""
        return [source.name for source in self._sources]

    def paths(self) -> list[Path]:
        """The files of the sources that are fed, in order."""
        return [path for number in self._order for _, path in self._sources[number].files]

    def digests(self) -> list[str]:
        """A hash of the bytes of every source's files, by number: the same content has the same one, whatever its name.

        A file that cannot be read has a digest too; feeding it fails.
        """
        if not self._digests:
            self._digests += [digest_files(source.files) for source in self._sources]
        return self._digests

    def subset(self, numbers: Iterable[int]) -> Samples:
        """Samples of some of the sources, in the order given, that share what is decoded already.

        What was fed, skipped and warned of is counted for each on its own. A source that turns out to be unusable,
        under ``skip_bad``, is skipped by all.
        """
        other = copy(self)
        other._order = tuple(numbers)
        other._start_over()
        return other

    def __len__(self) -> int:
        """Samples of a pass, the bad ones included. For batches it is an estimate until the first pass has ended: which
        tensors hold a whole batch is not known before."""
        if self.batch == 1:
            return len(self._order)
        return self._length or -(-len(self._order) // self.batch)

    @property
    def fed(self) -> int:
        """How many files (or groups of files, for several inputs) have been fed to the model."""
        return len(self._seen)

    @property
    def repeated(self) -> int:
        """How many items of the last batch were fed before, to complete it; known after the first pass."""
        return self._repeated

    def fed_digests(self) -> list[str]:
        """A hash of the contents of every sample that has been fed, in order."""
        return [digest_files(self._sources[number].files) for number in sorted(self._seen)]

    def __iter__(self) -> Iterator[Sample]:
        samples = self._packed() if self.batch > 1 else self._single()
        length = 0
        for sample in samples:
            length += 1
            yield sample
        if not length:
            why = f": {self.skipped[0]}" if self.skipped else ""
            raise InputError(f"none of the {len(self._order)} calibration files can be used{why}")
        self._length = length

    def check(self) -> None:
        """Read every file once, and keep what fits into the cache; raises what iterating would raise."""
        for _ in self:
            pass

    def picture_inputs(self) -> dict[str, PictureInput]:
        """How pictures become model inputs, for those to which some were fed."""
        return {name: self._loader.pictures[name] for name in sorted(self._loader.fed_pictures)}

    def statistics(self) -> dict[str, dict]:
        """What was fed so far: per input ``items`` and, per channel, ``lowest``, ``mean``, ``highest``."""
        return {name: statistics.as_dict() for name, statistics in self._statistics.items()}

    def warnings(self, *, is_normalized_inside: bool = False) -> list[str]:
        """What the user should know about the files fed so far, and those skipped; one line each."""
        return skipped_warning(self.skipped, len(self.names)) + self.notes(is_normalized_inside=is_normalized_inside)

    def notes(self, *, is_normalized_inside: bool = False) -> list[str]:
        """What the user should know about the files fed so far; one line each."""
        lines = [
            f"{count_of(len(names), 'picture has', 'pictures have')} {note}: {_some(names)}"
            for note, names in sorted(self._notes.items())
        ]
        if self._repeated:
            lines.append(
                f"the last batch of {self.batch} was completed with the first {count_of(self._repeated, 'item')} again"
            )
        settings = self.config.for_pictures()
        if settings and self._seen and not self.picture_inputs():
            lines.append(f"{', '.join(settings)}: for pictures; tensor files are fed as they are, no picture was read")
        for name in self.picture_inputs():
            statistics = self._statistics[name]
            warning = plausibility_warning(statistics, self.config, is_normalized_inside=is_normalized_inside)
            lines += [warning] if warning else []
        return lines

    def _single(self) -> Iterator[Sample]:
        for number, loaded, arrays in self._arrays():
            rows = next(iter(arrays.values())).shape[0]
            again = partial(self._loader.feed, loaded)
            yield Sample(self._sources[number].name, arrays, rows, (number,) * rows, again)

    def _packed(self) -> Iterator[Sample]:
        first: list[tuple[int, dict]] = []  # rows of the first batch, to complete the last one with
        waiting: list[tuple[int, dict]] = []
        self._repeated = 0
        for number, _, arrays in self._arrays():
            for row in range(next(iter(arrays.values())).shape[0]):
                waiting.append((number, {name: array[row : row + 1] for name, array in arrays.items()}))
                if len(first) < self.batch - 1:
                    first.append(waiting[-1])
                if len(waiting) == self.batch:
                    yield self._batch_of(waiting, self.batch)
                    waiting = []
        if waiting:
            fresh = len(waiting)
            self._repeated = self.batch - fresh
            yield self._batch_of(waiting + [first[i % len(first)] for i in range(self._repeated)], fresh)

    def _batch_of(self, rows: list[tuple[int, dict]], fresh: int) -> Sample:
        numbers = tuple(number for number, _ in rows[:fresh])
        names = [self._sources[number].name for number in (numbers[0], numbers[-1])]
        arrays = {}
        for name in self.specs:
            arrays[name] = empty = self._loader.empty(name)
            for place, (_, row) in enumerate(rows):
                empty[place] = row[name][0]
        return Sample(names[0] if names[0] == names[1] else " .. ".join(names), arrays, fresh, numbers)

    def _arrays(self) -> Iterator[tuple[int, Loaded, dict[str, np.ndarray]]]:
        """Numbers of sources in order, with what was read of them and their arrays; decoding runs ahead."""
        self._loader.import_libraries(self._sources)
        indices = iter(self.usable)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="tnnquant-inputs")
        pending: deque = deque()

        def submit() -> None:
            index = next(indices, None)
            if index is not None:
                pending.append((index, pool.submit(self._load, index)))

        try:
            for _ in range(self._workers + 2):
                submit()
            while pending:
                index, future = pending.popleft()
                result = self._result(index, future)
                submit()
                if result is not None:
                    yield index, *result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _load(self, index: int) -> tuple[Loaded, dict[str, np.ndarray]]:
        # On a worker thread.
        source, loaded = self._sources[index], self._cache.held.get(index)
        try:
            if loaded is None:
                loaded = self._loader.load(source)
                self._cache.keep(index, loaded)
            return loaded, self._loader.feed(loaded)
        except MemoryError:
            raise InputError(f"{source.name}: not enough memory to read it") from None

    def _result(
        self, index: int, future: Future[tuple[Loaded, dict[str, np.ndarray]]]
    ) -> tuple[Loaded, dict[str, np.ndarray]] | None:
        # In order, on the consumer's thread: what is counted here does not depend on the workers' timing.
        try:
            loaded, arrays = future.result()
        except InputError as error:
            if index in self._seen:
                raise InputError(f"{error} (it was read before: it changed or vanished during the run)") from error
            if not self.config.skip_bad:
                hint = f"{parameter('skip_bad', True)} skips files that cannot be used"
                raise InputError(f"{error} ({hint})") from error
            self._bad.add(index)
            self.skipped.append(str(error))
            return None
        if index not in self._seen:
            self._seen.add(index)
            self._loader.count(loaded, self._statistics)
            for note in loaded.notes:
                self._notes.setdefault(note, []).append(self._sources[index].name)
        return loaded, arrays


def skipped_warning(skipped: Sequence[str], count: int) -> list[str]:
    """One line about the files, of ``count``, that could not be used; none if all could."""
    if not skipped:
        return []
    shown = "; ".join(skipped[:3]) + ("; ..." if len(skipped) > 3 else "")
    return [f"{len(skipped)} of {count} calibration files cannot be used and were skipped: {shown}"]


def _check_specs(specs: Mapping) -> None:
    if not specs:
        raise InputError("the model has no input")
    for name, spec in specs.items():
        is_giant = prod(spec.dims) > _LARGEST_INPUT
        if not spec.dims or min(spec.dims) < 1 or is_giant:
            why = f", more than {_LARGEST_INPUT:,} values" if is_giant else ""
            raise InputError(
                f"the model input {quoted(name)} has dims {'x'.join(map(str, spec.dims))}{why}; give usable ones with "
                f"{dims_of(printable(name))}"
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
