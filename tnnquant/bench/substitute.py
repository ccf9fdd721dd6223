"""A kernel of one's own in the place of a built-in one, in a network that runs.

While an executor is made within :meth:`Substitution.planned`, every op of the operator is marked, and what the kernel
is to be called with is noted. Programs then run up to a marked op, call the kernel from Python, and go on. The same
executor runs the built-in ops too: :attr:`Substitution.mode` says which.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tnnquant.bench.check import first_wrong, wrong_values
from tnnquant.bench.custom import reason
from tnnquant.bench.operators import Operator
from tnnquant.bench.seams import SEAMS, Plain
from tnnquant.errors import ConfigError, KernelError

__all__ = ["Place", "Substitution", "marks_of"]

#: The word of an op that marks it: the one of its head that kernels/program.py leaves free.
_MARK = 7


@dataclass
class Place:
    """An op that the kernel stands for.

    Attributes
    ----------
    plain : Plain
    rows : int64 (ops, WORDS)
        Of the built-in kernel.
    seconds, builtin_seconds : float
        The fastest of the timed runs.
    difference : str
        From the built-in kernel, in words; of a checked run.
    """

    plain: Plain
    rows: np.ndarray
    seconds: float = np.inf
    builtin_seconds: float = np.inf
    difference: str = ""
    runs: int = 0


@dataclass
class Substitution:
    """One kernel for one operator.

    Attributes
    ----------
    operator : Operator
    function : callable
        Takes the arguments of the naive twin.
    mode : str
        ``builtin``: the network as it is; ``yours``; ``check``: both, what the kernel makes is compared and dropped;
        ``time``: both, each timed.
    places : dict of int to Place
        By mark.
    left : int
        Ops that the kernel's arguments cannot express.

    Raises
    ------
    ConfigError
        No network calls the operator by an op.
    """

    operator: Operator
    function: Callable[..., object]
    mode: str = "builtin"
    places: dict[int, Place] = field(default_factory=dict)
    left: int = 0
    _sources: dict[int, tuple[Any, tuple]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.operator.name not in SEAMS:
            raise ConfigError(
                f"{self.operator.name} is no operation of a network's program, so it can take the place of none "
                f"(`tnnquant bench kernels --file` measures it); operators that are: {', '.join(SEAMS)}"
            )

    @contextmanager
    def planned(self) -> Iterator[None]:
        """Within the context, executors that are made call the kernel."""
        from tnnquant.kernels import program

        seam = SEAMS[self.operator.name]
        kept = []

        def put(where: str, wrapper: Callable) -> None:
            home, _, name = where.rpartition(".")
            module = importlib.import_module(f"tnnquant.kernels.{home}")
            original = getattr(module, name)
            kept.append((module, name, original))
            setattr(module, name, wrapper(original))

        for pack in seam.packs:
            put(pack, self._packing)
        put(seam.op, self._marking)
        put("program.Program", lambda original: _mixed(self, original))
        try:
            yield
        finally:
            for module, name, original in reversed(kept):
                setattr(module, name, original)
        assert program.Program is kept[-1][2]

    def _packing(self, original: Callable) -> Callable:
        def pack(*args: Any) -> Any:
            made = original(*args)
            self._sources[id(made)] = made, args  # held, so that no other object gets its number
            return made

        return pack

    def _marking(self, original: Callable) -> Callable:
        def make(*args: Any, **named: Any) -> Any:
            made = original(*args, **named)
            rows = made[0] if isinstance(made, tuple) else made
            if rows is None or not len(rows):
                return made
            try:
                plain = SEAMS[self.operator.name].plain(lambda packed: self._sources[id(packed)][1], *args, **named)
            except KeyError:  # packed otherwise
                plain = None
            if plain is None:
                self.left += 1
                return made
            number = len(self.places) + 1
            rows[:, _MARK] = -number
            rows[0, _MARK] = number
            self.places[number] = Place(plain, rows.copy())
            return made

        return make

    def call(self, number: int, builtin: Callable[[], None]) -> None:
        """Do what the mode says at a place."""
        place = self.places[number]
        place.runs += 1
        if self.mode == "yours":
            self._run(place)
        elif self.mode == "time":
            start = time.perf_counter()
            self._run(place)
            middle = time.perf_counter()
            builtin()
            place.seconds = min(place.seconds, middle - start)
            place.builtin_seconds = min(place.builtin_seconds, time.perf_counter() - middle)
        else:
            self._check(place, builtin)

    def _run(self, place: Place) -> None:
        plain = place.plain
        if plain.before:
            plain.before()
        self.function(*plain.args)
        if plain.after:
            plain.after()

    def _check(self, place: Place, builtin: Callable[[], None]) -> None:
        outputs = [place.plain.args[i] for i in self.operator.outputs(place.plain.args)]
        before = [array.copy() for array in outputs]
        try:
            self._run(place)
        except Exception as error:
            raise KernelError(f"{type(error).__name__}: {reason(error)}") from error
        made = [array.copy() for array in outputs]
        for array, old in zip(outputs, before, strict=True):
            array[...] = old
        builtin()
        for want, got in zip(outputs, made, strict=True):
            wrong = wrong_values(want, got, self.operator.tolerance)
            if wrong.any() and not place.difference:
                place.difference = first_wrong(wrong, want, got)


def marks_of(rows: np.ndarray | None) -> list[int]:
    """The numbers of the places among ops."""
    return [] if rows is None else [int(mark) for mark in rows[:, _MARK] if mark > 0]


def _mixed(substitution: Substitution, program: type) -> type:
    """A program that stops at marked ops."""

    class Mixed(program):
        def __init__(self, ops: list[np.ndarray], keep: Any = ()):
            super().__init__(ops, keep)
            marks = self.table[:, _MARK]
            # The ops of a place are marked n, -n, -n ...
            starts = [i for i in range(len(marks)) if i == 0 or marks[i] > 0 or (marks[i] == 0 and marks[i - 1] != 0)]
            ends = [*starts[1:], len(marks)]
            self._parts = [
                (int(marks[first]), self.part(first, last)) for first, last in zip(starts, ends, strict=False)
            ]
            self._is_plain = not marks.any()

        def run(self) -> None:
            if self._is_plain or substitution.mode == "builtin":
                super().run()
                return
            for number, part in self._parts:
                if number:
                    substitution.call(number, part.run)
                else:
                    part.run()

    return Mixed
