"""Checks every kernel against its naive twin over the shape table, and times it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from tnnquant.base.threads import threads_in_use
from tnnquant.bench.check import Arguments, difference
from tnnquant.bench.entries import amount, prepare, reference, seeded
from tnnquant.bench.machine import copy_rate, fp32_peak, int8_peak
from tnnquant.bench.operators import (
    BYTES,
    FP32_MACS,
    INT8_MACS,
    Operator,
    Prepared,
    find_operator,
    flat_arrays,
    operators,
)
from tnnquant.bench.timing import best_time

__all__ = ["Outcome", "ceiling", "compared", "measure", "run_builtin", "run_cases", "share_of_ceiling"]

#: Seconds of a naive kernel's run from which one run will do: it only sets a scale, and some take a fifth of a second.
_LONG = 1e-3
_IN_A_ROW = 8  # ops of a timed program: the fork and join of a call is shared by so many


@dataclass(frozen=True)
class Outcome:
    """One kernel on one case.

    Attributes
    ----------
    difference : str
        From the naive twin; empty if there is none.
    seconds, naive_seconds : float
        Of one run; NaN where the results differ.
    work, unit
        Of the operator; ``share`` is that of the ceiling of the unit, on as many cores as there are threads, or None.
    """

    operator: str
    case: str
    difference: str
    tolerance: float
    seconds: float
    naive_seconds: float
    work: float
    unit: str
    share: float | None

    @property
    def rate(self) -> float:
        """Work per second."""
        return self.work / self.seconds

    def as_dict(self) -> dict:
        """JSON types."""
        values = asdict(self)
        return {key: None if value != value else value for key, value in values.items()}


def run_cases(names: Sequence[str] = (), progress: Callable[[str, int, int], None] | None = None) -> Iterator[Outcome]:
    """Measure the built-in kernels of the named operators, of all if none is named.

    Raises
    ------
    ConfigError
        A name is not known; before anything is run.
    """
    chosen = [find_operator(name) for name in names] or list(operators().values())
    total, done = sum(len(entry.cases) for entry in chosen), 0
    for entry in chosen:
        for case in entry.cases:
            yield measure(entry, case)
            done += 1
            if progress:
                progress("kernels", done, total)


def measure(entry: Operator, case: str) -> Outcome:
    """Check and time a built-in kernel on one case."""
    args = seeded(entry, case)
    want, got = Arguments(entry, args), Arguments(entry, args)
    returned, naive = _timed_reference(entry, want)
    found = difference(entry, want, got, (returned, run_builtin(prepare(entry, *got.values)))) or got.damage()
    seconds, share = np.nan, None
    if found:
        naive = np.nan
    else:
        seconds = _time(prepare(entry, *got.values))
        if naive < _LONG:
            naive = best_time(partial(entry.naive, *want.values), repeats=3, budget=0, is_serial=True)
        share = share_of_ceiling(entry, args, seconds)
    return Outcome(
        entry.name, case, found, entry.tolerance, seconds, naive, amount(entry, args), entry.unit, share
    )


def _timed_reference(entry: Operator, want: Arguments) -> tuple[object, float]:
    """Run the naive kernel; what it returns and the seconds it took, 0 if it was compiled (or loaded) for that."""
    known = len(getattr(entry.naive, "signatures", ()))
    start = time.thread_time()
    returned = reference(entry, *want.values)
    seconds = time.thread_time() - start
    return returned, seconds if len(getattr(entry.naive, "signatures", ())) == known else 0.0


def compared(entry: Operator, want: Arguments, got: Arguments, run: Callable[..., object]) -> str:
    """What a kernel does wrong beside the naive one, in words; empty if nothing.

    Parameters
    ----------
    entry : Operator
    want, got : Arguments
        Of the naive kernel and of ``run``; both run once.
    run : callable
        Returns what the kernel returns, if that is a result.
    """
    returned = reference(entry, *want.values)
    return difference(entry, want, got, (returned, run(*got.values))) or got.damage()


def share_of_ceiling(entry: Operator, args: tuple, seconds: float) -> float | None:
    """The share of what the cores in use can do at most; None where nothing sensible bounds it."""
    limit = ceiling(entry, args)
    return None if limit is None else amount(entry, args) / seconds / (limit * threads_in_use())


def run_builtin(prepared: Prepared) -> object:
    """Run once; the results are in the outputs then. Returns what the kernel returns, if that is a result."""
    if prepared.op is not None:
        from tnnquant.kernels.program import run

        run(prepared.op)
    else:
        prepared.function()
    return prepared.finish() if prepared.finish else None


def _time(prepared: Prepared) -> float:
    if prepared.op is None:
        return best_time(prepared.function)
    from tnnquant.kernels.program import Program

    return best_time(Program([prepared.op] * _IN_A_ROW).run) / _IN_A_ROW


def ceiling(entry: Operator, args: tuple) -> float | None:
    """What one core can do at most of the operator's work per second; None where nothing sensible bounds it."""
    if entry.unit == FP32_MACS:
        return fp32_peak()
    if entry.unit == INT8_MACS:
        return int8_peak()
    if entry.unit == BYTES:
        return copy_rate(sum(array.nbytes for array in flat_arrays(args)))
    return None
