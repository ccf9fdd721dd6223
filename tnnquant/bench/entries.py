"""What a bench entry gives, checked: who returns the wrong thing is named, with what was wanted."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from tnnquant.bench.operators import Operator, Prepared
from tnnquant.errors import ConfigError, TnnQuantError

__all__ = ["amount", "prepare", "reference", "seeded"]


def seeded(entry: Operator, case: str) -> tuple:
    """The arguments of a case: random, the same every time.

    Raises
    ------
    ConfigError
        ``make`` fails, or does not return the arguments of the naive twin.
    """
    rng = np.random.default_rng(zlib.crc32(f"{entry.name} {case}".encode()))
    names = entry.parameters
    made = _called(entry, f"make() for the case {case!r}", entry.make, rng, *entry.cases[case])
    wanted = f"expected a tuple of {len(names)}, the arguments of {entry.signature}"
    if not isinstance(made, tuple):
        raise _wrong(entry, f"make() for the case {case!r} returned {_shown(made)}, {wanted}")
    if len(made) != len(names):
        raise _wrong(entry, f"make() for the case {case!r} returned {len(made)} values, {wanted}")
    if any(not -len(names) <= i < len(names) for i in (*entry.writes, *entry.scratch)):
        raise _wrong(entry, f"writes is {entry.writes}, scratch {entry.scratch}, but there are {len(names)} arguments")
    for i in entry.written(made):
        if not isinstance(made[i], np.ndarray):
            raise _wrong(entry, f"argument {names[i]}, which is written, is {_shown(made[i])}, expected an array")
    return made


def prepare(entry: Operator, *args: Any) -> Prepared:
    """The built-in kernel made ready.

    Raises
    ------
    ConfigError
        ``builtin`` fails, or does not return a :class:`Prepared` with an op or a call.
    """
    from tnnquant.kernels.program import WORDS

    prepared = _called(entry, "builtin()", entry.builtin, *args)
    if not isinstance(prepared, Prepared):
        raise _wrong(entry, f"builtin() returned {_shown(prepared)}, expected Prepared(op) or Prepared(call=function)")
    op = prepared.op
    if op is None and not callable(prepared.call):
        raise _wrong(entry, "builtin() returned a Prepared with neither an op nor a call")
    if op is not None and not (isinstance(op, np.ndarray) and op.dtype == np.int64 and op.shape[1:] == (WORDS,)):
        raise _wrong(entry, f"builtin() returned a Prepared whose op is {_shown(op)}, expected int64 (n, {WORDS})")
    return prepared


def reference(entry: Operator, *args: Any) -> Any:
    """Run the naive twin; what it returns."""
    return _called(entry, "its naive twin", entry.naive, *args)


def amount(entry: Operator, args: tuple) -> float:
    """How much there is to do."""
    found = _called(entry, "work()", entry.work, *args)
    if not isinstance(found, int | float | np.number) or not found > 0:
        raise _wrong(entry, f"work() returned {_shown(found)}, expected a number above 0")
    return float(found)


def _called(entry: Operator, what: str, function: Any, *args: Any) -> Any:
    try:
        return function(*args)
    except TnnQuantError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise _wrong(entry, f"{what} fails: {type(error).__name__}: {reason}") from error


def _wrong(entry: Operator, what: str) -> ConfigError:
    kind = type(entry)
    return ConfigError(f"bench entry {entry.name!r} ({kind.__module__}.{kind.__qualname__}): {what}")


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {value.shape}"
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:60]}"
