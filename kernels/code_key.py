"""What the machine code of one function depends on: its bytecode, and all that it names, functions within functions.

Numba takes the globals that a function names as constants when it compiles. So their values make the key, as they are
in memory: other kernels, functions that emit instructions, numbers, tables. An edit elsewhere in the file, of a comment
or of a naive twin, leaves the key as it is. Of a value that is none of these (a class, an object, a module of this
package) the text of its file and of what that imports goes in (:mod:`~tnnquant.kernels.closure`): one dependency too
many costs time, a missed one would run stale machine code. NumPy, Numba and Python themselves are named; their versions
are keyed elsewhere.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from tnnquant.kernels.closure import fingerprint

__all__ = ["code_key", "functions_of"]

#: Top-level packages that the key of versions answers for.
_FOREIGN = frozenset({"numba", "numpy", "llvmlite", *sys.stdlib_module_names})
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))


def code_key(function: Callable[..., Any]) -> str:
    """A hash of a Python function and of what it names, the same in every process and every checkout."""
    walk = _Walk()
    walk.value(function, None)
    return walk.digest.hexdigest()


def functions_of(function: Callable[..., Any]) -> list[FunctionType]:
    """The Python functions that a function stands on, itself first; those of kernels and of intrinsics included."""
    walk = _Walk()
    walk.value(function, None)
    return list(walk.seen)


class _Walk:
    """One pass over all that a function names, depth first, in the order of the names."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.seen: dict[FunctionType, int] = {}

    def put(self, *parts: object) -> None:
        self.digest.update(repr(parts).encode())

    def value(self, value: Any, owner: FunctionType | None) -> None:
        """A value that the function ``owner`` names."""
        python = getattr(value, "py_func", None) or getattr(value, "_defn", None)  # a kernel, an intrinsic
        wrapped = getattr(value, "__wrapped__", None)  # functools.cache and other decorators
        if isinstance(python, FunctionType):
            self.put("compiled", type(value).__name__)
            self.value(getattr(value, "targetoptions", None), owner)
            self.function(python)
        elif isinstance(value, FunctionType) and wrapped is None:
            self.function(value)
        elif isinstance(wrapped, FunctionType):
            self.function(wrapped)
            if isinstance(value, FunctionType):
                self.function(value)
        elif isinstance(value, functools.partial):
            self.value((value.func, value.args, value.keywords), owner)
        elif type(value) in _PLAIN:
            self.put(type(value).__name__, value)
        elif isinstance(value, CodeType):
            self.code(value)
        elif type(value) in (tuple, list):
            self.put(type(value).__name__, len(value))
            for each in value:
                self.value(each, owner)
        elif type(value) is dict:
            self.put("dict", len(value))
            for key, each in value.items():
                self.value(key, owner)
                self.value(each, owner)
        elif type(value) in (set, frozenset) and all(type(each) in _PLAIN for each in value):
            self.put("set", *sorted(map(repr, value)))
        elif isinstance(value, ModuleType):
            self.put("module", value.__name__)
            if not _is_foreign(value.__name__):
                self.file(inspect.getfile(value))
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            self.put("array", value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest())
        else:
            self.other(value, owner)

    def other(self, value: Any, owner: FunctionType | None) -> None:
        """A class, or an object of one: by name where Numba, NumPy or Python have it, else by its file."""
        kind = value if isinstance(value, type) else type(value)
        module = getattr(value, "__module__", None) or kind.__module__
        text = f"{kind.__module__}.{kind.__qualname__}" + ("" if isinstance(value, type) else f" {value!r}")
        is_known = _is_foreign(kind.__module__) and (not isinstance(module, str) or _is_foreign(module))
        self.put("other", text.split(" at 0x")[0])
        if not is_known:
            self.file(inspect.getfile(kind) if not _is_foreign(kind.__module__) else sys.modules[module].__file__)
        elif " at 0x" in text:  # says nothing of what it holds
            self.file(owner.__code__.co_filename if owner else None)

    def function(self, function: FunctionType) -> None:
        if self.seen and _is_foreign(function.__module__ or ""):
            self.put("foreign", function.__module__, function.__qualname__)
            return
        if function in self.seen:
            self.put("seen", self.seen[function])
            return
        self.seen[function] = len(self.seen)
        self.put("function", len(self.seen))
        self.value((function.__defaults__, function.__kwdefaults__), function)
        for cell in function.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:  # not yet set
                held = None
            self.value(held, function)
        self.code(function.__code__)
        names, imports = _named(function.__code__)
        for name in names:
            if name in function.__globals__:
                self.put(name)
                self.value(function.__globals__[name], function)
        if imports:
            self.file(function.__code__.co_filename)

    def code(self, code: CodeType) -> None:
        self.put(
            code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags,
            code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount,
        )  # fmt: skip
        for constant in code.co_consts:
            self.value(constant, None)

    def file(self, path: str | None) -> None:
        if path is None:
            raise OSError("a value whose file is not known")
        self.put("file", fingerprint(Path(path).resolve()))


def _is_foreign(module: str) -> bool:
    return module.split(".")[0] in _FOREIGN


@functools.cache
def _named(code: CodeType) -> tuple[tuple[str, ...], bool]:
    """The names that code and the functions within it read, each once; whether they import anything."""
    names: Mapping[str, None] = dict.fromkeys(code.co_names)
    imports = dis.opmap["IMPORT_NAME"] in code.co_code[::2]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            more, inner = _named(constant)
            names, imports = {**names, **dict.fromkeys(more)}, imports or inner
    return tuple(names), imports
