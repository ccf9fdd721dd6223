"""A user's own kernels: loaded from a file, checked against the reference, timed beside the built-in ones.

A function of the file that is called like an operator and compiled by Numba (``@njit``, or ``kernel`` of
``tnnquant.kernels.jit``) is a kernel for it; it takes the arguments of the operator's naive twin. Other functions of
the file are its own affair.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any, Protocol

import numpy as np

from tnnquant.base.plugins import import_file
from tnnquant.base.threads import set_threads
from tnnquant.bench.apart import Send
from tnnquant.bench.assembly import FunctionReport, analyse
from tnnquant.bench.check import Arguments
from tnnquant.bench.entries import amount, prepare, seeded
from tnnquant.bench.kernels import compared, run_builtin, share_of_ceiling
from tnnquant.bench.machine import describe
from tnnquant.bench.operators import Operator, Prepared, find_operator, operators
from tnnquant.bench.timing import best_time
from tnnquant.errors import ConfigError, TnnQuantError

__all__ = ["CustomKernel", "CustomOutcome", "chosen_kernels", "load_kernels", "measure_custom", "reason", "report_file"]


class Dispatcher(Protocol):
    """What ``@njit`` makes of a function; Numba publishes no types."""

    py_func: FunctionType

    def inspect_asm(self) -> dict[tuple, str]: ...

    def __call__(self, *args: Any) -> Any: ...


@dataclass(frozen=True)
class CustomKernel:
    """A kernel of the user for an operator; ``function`` is Numba's dispatcher."""

    operator: Operator
    function: Dispatcher

    @property
    def line(self) -> int:
        """Where it stands in its file."""
        return self.function.py_func.__code__.co_firstlineno

    def reports(self) -> list[FunctionReport]:
        """What the compiler made of it, for the argument types it has been called with."""
        seen, found = set(), []
        for text in self.function.inspect_asm().values():
            for report in analyse(text):
                if (report.name, report.instructions) not in seen:
                    seen.add((report.name, report.instructions))
                    found.append(report)
        return found


@dataclass(frozen=True)
class CustomOutcome:
    """A user's kernel on one case, beside the built-in one; both are timed as calls from Python.

    ``difference`` says in words how the results differ from the reference; the times are NaN then.
    """

    operator: str
    case: str
    difference: str
    tolerance: float
    seconds: float
    builtin_seconds: float
    work: float
    unit: str
    share: float | None

    @property
    def rate(self) -> float:
        """Work per second."""
        return self.work / self.seconds

    def as_dict(self) -> dict:
        """JSON types."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


def load_kernels(path: str | Path) -> list[CustomKernel]:
    """Import a file and find its kernels.

    Raises
    ------
    InputError
        The file cannot be read or imported.
    ConfigError
        No function is called like an operator, or it is not compiled, or takes other arguments.
    """
    path = Path(path)
    module = import_file(path, "user", "kernel")
    known = operators()
    # `range` is an operator too: Python's own stays usable where the function is called `range_`.
    known = {**known, **{f"{name}_": entry for name, entry in known.items()}}
    for name, value in vars(module).items():
        if name in known and not _is_own(value, module.__name__):
            raise ConfigError(f"{path}: {name} is {_what(value)}, expected a function of this file with @njit above it")
    own = {name: value for name, value in vars(module).items() if _is_own(value, module.__name__)}
    found = [CustomKernel(known[name], value) for name, value in own.items() if name in known]
    if not found:
        names = ", ".join(own) or "none"
        if len(own) == 1:
            find_operator(next(iter(own)))
        raise ConfigError(
            f"{path}: no function is called like an operator (functions found: {names}); "
            f"known operators: {', '.join(operators())}"
        )
    for entry in found:
        _check_function(entry, path)
    return found


def _what(value: Any) -> str:
    home = getattr(getattr(value, "py_func", value), "__module__", None)
    if callable(value) and home and not isinstance(value, type) and type(value).__name__ != "DUFunc":
        return f"imported from {home}"
    kind = type(value).__name__
    return f"a{'n' if kind[0] in 'aeiou' else ''} {kind}"


def _is_own(value: object, module: str) -> bool:
    function = getattr(value, "py_func", value)
    return inspect.isfunction(function) and function.__module__ == module


def _check_function(entry: CustomKernel, path: Path) -> None:
    name = getattr(entry.function, "__name__", entry.operator.name)
    if not hasattr(entry.function, "inspect_asm"):
        raise ConfigError(
            f"{path}: {name} is a plain Python function, expected one compiled by Numba; write @njit above it"
        )
    naive = getattr(entry.operator.naive, "py_func", entry.operator.naive)
    want = list(inspect.signature(naive).parameters)
    got = list(inspect.signature(entry.function.py_func).parameters)
    if len(got) != len(want):
        raise ConfigError(
            f"{path}:{entry.line}: {name}({', '.join(got)}) takes {len(got)} arguments, expected {len(want)}: "
            f"{name}({', '.join(want)})"
        )


def measure_custom(entry: CustomKernel, doing: Callable[[str], None] | None = None) -> Iterator[CustomOutcome]:
    """Check and time a user's kernel on the operator's shape table; ``doing`` is told of each case before it runs."""
    for case in entry.operator.cases:
        if doing:
            doing(f"{entry.operator.name}, {case}")
        yield _measure(entry.operator, entry.function, case)


def chosen_kernels(path: str | Path, names: Sequence[str]) -> list[CustomKernel]:
    """The kernels of a file, or those of the named operators.

    Raises
    ------
    InputError, ConfigError
        As :func:`load_kernels`; the file has no kernel for a name.
    """
    kernels = load_kernels(path)
    found = [entry.operator.name for entry in kernels]
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(f"{path}: no kernel for {', '.join(missing)}; it has {', '.join(found)}")
    return [entry for entry in kernels if not names or entry.operator.name in names]


def report_file(send: Send, path: str, names: Sequence[str], threads: int) -> None:
    """Measure a file's kernels, for :func:`~tnnquant.bench.apart.run_apart`.

    Sends ("progress", (text, done, total)), ("outcome", CustomOutcome), ("code", (name, reports)), ("machine", dict).
    """
    send("doing", path)
    set_threads(threads)
    kernels = chosen_kernels(path, names)
    done, total = 0, sum(len(entry.operator.cases) for entry in kernels)

    def doing(text: str) -> None:
        send("doing", f"{path}: {text}")
        send("progress", (text, done, total))

    for entry in kernels:
        for outcome in measure_custom(entry, doing):
            done += 1
            send("outcome", outcome)
        send("code", (entry.operator.name, entry.reports()))
    send("machine", describe())


def _measure(operator: Operator, function: Callable, case: str) -> CustomOutcome:
    args = seeded(operator, case)
    want, got = Arguments(operator, args), Arguments(operator, args)
    try:
        found = compared(operator, want, got, function)
    except TnnQuantError:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {reason(error)}"
    seconds, builtin, share = np.nan, np.nan, None
    if not found:
        seconds = best_time(partial(function, *got.values))
        own = Arguments(operator, args)  # ops hold addresses: these arrays must stay alive
        builtin = best_time(_call(prepare(operator, *own.values)))
        share = share_of_ceiling(operator, args, seconds)
    return CustomOutcome(
        operator.name, case, found, operator.tolerance, seconds, builtin, amount(operator, args), operator.unit, share
    )


def _call(prepared: Prepared) -> Callable[[], object]:
    if prepared.op is None:
        return prepared.function
    from tnnquant.kernels.program import Program

    run_builtin(prepared)
    program = Program([prepared.op], keep=(prepared,))
    return program.run


def reason(error: Exception) -> str:
    """The lines of an error of Numba that say what is wrong and where; others whole, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 2:
        dull = ("Failed in", "During:", "There are", "- Of which", "Overload", "[", ">>>", "Known signatures", "* ")
        said = [line for line in lines if not line.startswith(dull)]
        where = [line for line in said if line.startswith("File ")]
        lines = [*[line for line in said if not line.startswith("File ")][:2], *where[-1:]]
    return " ".join(lines)[:400]
