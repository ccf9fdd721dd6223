"""The file that a kernel of one's own starts from: the naive twin with what it needs, and what it is called with."""

from __future__ import annotations

import builtins
import inspect
import re
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tnnquant.bench.operators import Operator
from tnnquant.bench.seams import SEAMS

__all__ = ["function_name", "template"]

#: As the built-in kernels: a division by zero raises no error, and so does not keep a loop from being vectorized.
_DECORATOR = '@njit(error_model="numpy")'


def function_name(operator: Operator) -> str:
    """What the function is called: like the operator, with an underscore where Python has that name."""
    return f"{operator.name}_" if hasattr(builtins, operator.name) else operator.name


def template(operator: Operator, path: str = "mine.py") -> str:
    """A Python file with a kernel that runs as it is: the naive twin under the operator's name.

    Parameters
    ----------
    operator : Operator
    path : str
        What the file is to be called, for the commands in its head.
    """
    needs = _Needs()
    body = needs.source(_python(operator.start or operator.naive), function_name(operator))
    parts = [
        '"""' + "\n".join(_head(operator, path)) + '\n"""',
        "\n".join(needs.import_lines()),
        "\n".join([*_codes(operator, needs), *needs.constant_lines(operator)]),
    ]
    text = "\n\n".join(part for part in parts if part)
    return text + "".join(f"\n\n\n{function}" for function in (*needs.functions.values(), body)) + "\n"


def _head(operator: Operator, path: str) -> Iterator[str]:
    yield f"{operator.name}: {operator.computes}"
    yield ""
    yield "It starts as the naive twin, plain loops that are right and slow. Change it, save, and run:"
    yield ""
    yield f"    tnnquant bench kernels --file {path}            # right? how fast? what machine code?"
    yield f"    tnnquant bench kernels --file {path} --watch    # again whenever the file is saved"
    if operator.name in SEAMS:
        yield f"    tnnquant bench latency NAME --kernel {path}     # in a network, in place of the built-in one"
    yield ""
    yield f"Arguments, as in the case {next(iter(operator.cases))!r}; results go into {_results(operator)}:"
    yield ""
    args = operator.make(np.random.default_rng(0), *next(iter(operator.cases.values())))
    for name, value in zip(operator.parameters, args, strict=True):
        yield from _wrapped([f"{name}: {_kind(value, operator.codes.get(name))}"])
    yield ""
    yield "In general:"
    yield ""
    yield from _wrapped(re.sub(r"^#\s*", "", " ".join(line.lstrip("# ") for line in operator.notes)).split("; "))
    for kind in _named(args):
        yield ""
        yield f"{kind.__name__}, whose fields are read by name (.{kind._fields[2]}) or unpacked in this order:"
        yield ""
        yield from _wrapped([", ".join(kind._fields)])
        yield from _about(kind)
    yield ""
    exact = "Every value must be equal to the naive twin's."
    near = f"Values may differ from the naive twin's by {operator.tolerance:g} of the largest one: {operator.why}."
    yield from textwrap.wrap(near if operator.tolerance else exact, 100)


def _results(operator: Operator) -> str:
    names = operator.parameters
    found = [names[i] for i in operator.outputs(tuple(names))]
    also = " and what is returned" if operator.returns else ""
    return (", ".join(found[:-1]) + " and " + found[-1] if len(found) > 1 else found[0]) + also


def _kind(value: Any, codes: dict[str, int] | None = None) -> str:
    if codes:
        return f"int, here {next(name for name, code in codes.items() if code == value)}"
    if isinstance(value, np.ndarray):
        layout = "" if value.flags.c_contiguous else ", strided"
        return f"{value.dtype} {value.shape}{layout}" + ("" if value.flags.writeable else ", read-only")
    if hasattr(value, "_fields"):
        arrays = isinstance(value[0], np.ndarray)
        parts = [
            f"{name} {_kind(part)}" if arrays else f"{name}={part}"
            for name, part in zip(value._fields, value, strict=True)
        ]
        return f"{type(value).__name__}({', '.join(parts)})"
    if value is None:
        return "None"
    if isinstance(value, tuple):
        return f"({', '.join(_kind(part) for part in value)})"
    return f"{type(value).__name__}, here {value}"


def _wrapped(lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield from textwrap.wrap(line, 110, initial_indent="    ", subsequent_indent="        ")


def _named(args: tuple) -> list[Any]:
    return list(dict.fromkeys(type(value) for value in args if hasattr(value, "_fields")))


def _about(kind: type) -> Iterator[str]:
    """What the tuple's docstring says, in plain text."""
    text = inspect.cleandoc(kind.__doc__ or "").replace("``", "").replace("\\", "/")
    text = re.sub(r" \(docs/[^)]*\)", "", text)
    text = re.sub(r"Attributes\n-+\n", "", re.sub(r":\w+:`~?([^`]*)`", r"\1", text))
    yield ""
    yield from (f"    {line}".rstrip() for line in text.splitlines())


def _codes(operator: Operator, needs: _Needs) -> Iterator[str]:
    for argument, codes in operator.codes.items():
        yield f"# What {argument} says."
        for name, code in codes.items():
            needs.constants.pop(name, None)
            yield f"{name} = {code}"


@dataclass
class _Needs:
    """What a function needs to stand in a file of its own, found by following its names."""

    imports: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)

    def source(self, function: Callable, name: str | None = None) -> str:
        """The function's text with the template's decorator, under another name; what it needs is noted first."""
        self._follow(function)
        lines = textwrap.dedent(inspect.getsource(function)).splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("def "))
        text = "\n".join(lines[start:]).rstrip().replace("  # fmt: skip", "")
        if name is not None:
            text = re.sub(r"^def \w+", f"def {name}", text)
        return f"{_DECORATOR}\n{text}"

    def _follow(self, function: Callable) -> None:
        for name in function.__code__.co_names:
            if name not in function.__globals__ or name in self.functions:
                continue
            value = function.__globals__[name]
            if isinstance(value, types.ModuleType):
                short = f" as {name}" if value.__name__ != name else ""
                self.imports[name] = f"import {value.__name__}{short}"
            elif isinstance(value, int | float | np.generic):
                self.constants[name] = value
            elif hasattr(value, "py_func") and name.startswith("_"):
                self.functions[name] = ""  # its place, before those that it needs are noted
                text = self.source(value.py_func)
                del self.functions[name]
                self.functions[name] = text
            else:
                self.imports[name] = f"from {_python(value).__module__} import {name}"

    def import_lines(self) -> list[str]:
        """The imports, sorted as usual: libraries, then the package's."""
        lines = {"import numpy as np", "from numba import njit", *self.imports.values()}
        own = {line for line in lines if "tnnquant" in line}
        standard = {line for line in lines - own if "num" not in line}
        groups = [sorted(standard), sorted(lines - own - standard, key=lambda line: line.split()[1]), sorted(own)]
        return "\n\n".join("\n".join(reversed(group) if "numba" in str(group) else group)
                           for group in groups if group).splitlines()  # fmt: skip

    def constant_lines(self, operator: Operator) -> Iterator[str]:
        """The numbers, but those that are codes of the operator."""
        known = {name for codes in operator.codes.values() for name in codes}
        for name, value in self.constants.items():
            if name not in known:
                shown = f"np.{type(value).__name__}({value})" if isinstance(value, np.generic) else repr(value)
                yield f"{name} = {shown}"


def _python(function: Any) -> Any:
    return getattr(function, "py_func", function)
