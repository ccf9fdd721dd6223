"""What the kernel benchmark knows of an operator; :mod:`tnnquant.bench.cases` holds one entry for each."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tnnquant.errors import ConfigError

__all__ = [
    "BYTES", "FP32_MACS", "INT8_MACS", "OTHER", "Operator", "Prepared", "find_operator", "flat_arrays", "operator",
    "operators",
]  # fmt: skip

#: What counts as work, and so which ceiling a rate is compared with: multiply-adds of fp32 and of int8, bytes read
#: and written, or something that has no ceiling.
FP32_MACS, INT8_MACS, BYTES, OTHER = "fp32 MAC", "int8 MAC", "B", "value"


@dataclass(frozen=True)
class Prepared:
    """The built-in kernel made ready for given arguments: weights packed, plans made, nothing of that timed.

    Attributes
    ----------
    op : int64 (n, WORDS), or None
        Ops of :mod:`tnnquant.kernels.program` that write the outputs among the arguments.
    call : callable, or None
        Does the same; for kernels that are no op.
    keep : tuple
        What must stay alive.
    finish : callable, optional
        Puts the results into the outputs, if the kernel leaves them elsewhere; not timed.
    """

    op: np.ndarray | None = None
    call: Callable[[], object] | None = None
    keep: tuple = ()
    finish: Callable[[], object] | None = None

    @property
    def function(self) -> Callable[[], object]:
        """:attr:`call`, of a kernel that is no op."""
        if self.call is None:
            raise ValueError("the entry gives neither an op nor a call")
        return self.call


class Operator:
    """One operator. A subclass is one entry.

    Attributes
    ----------
    computes : str
        What the operator computes, in one line.
    naive : kernel
        The reference; its arguments are those of a user's kernel too. A ``staticmethod``.
    start : kernel, optional
        What a user's kernel starts from, where the reference is not compiled. A ``staticmethod``.
    codes : dict
        Of each argument that is a code: the codes by name.
    cases : dict
        The shape table: name of a case to the arguments of :meth:`make`.
    writes : tuple of int
        Which arguments the kernel writes.
    scratch : tuple of int
        Which arguments it may write though they are no result: memory to work in.
    returns : bool
        Whether what the kernel returns is a result too.
    tolerance : float
        0: the bits are equal. Else the largest distance there may be, relative to the largest magnitude of the output,
        with ``why`` it cannot be 0.
    unit : str
        Of :meth:`work`.
    """

    name: ClassVar[str]
    computes: ClassVar[str] = ""
    naive: ClassVar[Callable]
    start: ClassVar[Callable | None] = None
    codes: ClassVar[dict[str, dict[str, int]]] = {}
    cases: ClassVar[dict[str, tuple]]
    writes: ClassVar[tuple[int, ...]] = (-1,)
    scratch: ClassVar[tuple[int, ...]] = ()
    returns: ClassVar[bool] = False
    tolerance: ClassVar[float] = 0.0
    why: ClassVar[str] = ""
    unit: ClassVar[str] = BYTES

    @property
    def parameters(self) -> list[str]:
        """Names of the arguments, those of the naive twin."""
        return list(inspect.signature(_python(self.naive)).parameters)

    @property
    def signature(self) -> str:
        """The name with the arguments of the naive twin."""
        return f"{self.name}({', '.join(self.parameters)})"

    @property
    def code_lines(self) -> list[str]:
        """The codes by name, a line per argument that is one."""
        return [f"{argument}: " + ", ".join(f"{code} {name}" for name, code in codes.items())
                for argument, codes in self.codes.items()]  # fmt: skip

    @property
    def field_lines(self) -> list[str]:
        """The fields of arguments that are named tuples, a line each."""
        args = self.make(np.random.default_rng(0), *next(iter(self.cases.values())))
        kinds = {type(value): None for value in args if hasattr(value, "_fields")}
        return [f"{kind.__name__}: {', '.join(kind._fields)}" for kind in kinds]

    @property
    def notes(self) -> list[str]:
        """What the naive twin's first comment says of its arguments."""
        found = []
        for line in inspect.getsource(_python(self.naive)).splitlines():
            text = line.strip()
            if text.startswith("#"):
                found.append(text)
            elif found:
                break
        return found

    def make(self, rng: np.random.Generator, *case: Any) -> tuple:
        """The arguments of the naive twin for a case."""
        raise NotImplementedError

    def builtin(self, *args: Any) -> Prepared:
        """The built-in kernel for the same arguments."""
        raise NotImplementedError

    def work(self, *args: Any) -> float:
        """How much there is to do, in :attr:`unit`; by default the bytes of all arrays."""
        return float(sum(a.nbytes for a in flat_arrays(args)))

    def outputs(self, args: tuple) -> list[int]:
        """Positions of the arguments that are results, from 0."""
        return sorted(i % len(args) for i in self.writes)

    def written(self, args: tuple) -> list[int]:
        """Positions of the arguments that may be written, from 0."""
        return sorted(i % len(args) for i in (*self.writes, *self.scratch))


_OPERATORS: dict[str, Operator] = {}
_loaded = False


def operator(name: str) -> Callable[[type[Operator]], type[Operator]]:
    """Decorator: enter a subclass of :class:`Operator` under a name, that of the kernel, unused so far."""

    def enter(entry: type[Operator]) -> type[Operator]:
        if name in _OPERATORS:
            raise ValueError(f"operator {name} is registered twice")
        entry.name = name
        _OPERATORS[name] = entry()
        return entry

    return enter


def operators() -> dict[str, Operator]:
    """All operators by name, in alphabetical order."""
    global _loaded
    if not _loaded:
        package = importlib.import_module("tnnquant.bench.cases")
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"{package.__name__}.{module}")
        _loaded = True
    return dict(sorted(_OPERATORS.items()))


def find_operator(name: str) -> Operator:
    """The operator of that name.

    Raises
    ------
    ConfigError
        There is none; the known names are listed.
    """
    if name not in _OPERATORS:
        _import_case(name)
    if name in _OPERATORS:
        return _OPERATORS[name]
    known = operators()
    if name not in known:
        close = get_close_matches(name, known, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(f"no operator {name!r}{hint}; known: {', '.join(known)}")
    return known[name]


def _import_case(name: str) -> None:
    """Import the file that enters an operator, if one does: all of them take 0.2 s, with the kernels they name."""
    package = importlib.import_module("tnnquant.bench.cases")
    for folder in package.__path__:
        for path in sorted(Path(folder).glob("*.py")):
            if f'@operator("{name}")' in path.read_text(encoding="utf-8"):
                importlib.import_module(f"{package.__name__}.{path.stem}")


def _python(function: Callable) -> Callable:
    """The Python function of a compiled one."""
    return getattr(function, "py_func", function)


def flat_arrays(values: Any) -> Iterator[np.ndarray]:
    """All arrays among arguments, tuples opened."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from flat_arrays(value)
