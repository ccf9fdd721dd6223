"""Named things that extend tnnquant: observers, weight methods. A new one is one file with one decorator."""

from __future__ import annotations

import importlib
import pkgutil
import re
import threading
from collections.abc import Callable
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from tnnquant.base import plugins
from tnnquant.errors import ConfigError

__all__ = ["Registry", "declared_codes"]


def declared_codes(package: str, decorator: str) -> dict[int, str] | None:
    """The names that the modules of a package register, by number, without importing anything.

    ``--help`` lists them, and must not pay for the NumPy that the modules import. What is read are the lines
    ``@decorator(number, "name"`` of the sources.

    Parameters
    ----------
    package : str
        A sub-package of tnnquant: ``"tnnquant.observers"``.
    decorator : str

    Returns
    -------
    dict of int to str, or None
        In order of the numbers. None: the sources are not there to be read.
    """
    spec = find_spec(package)
    folders = map(Path, spec.submodule_search_locations or ()) if spec else ()
    line = re.compile(rf'^@{decorator}\((\d+), "([^"]+)"[,)]', re.MULTILINE)
    try:
        sources = [path for folder in folders for path in (*folder.glob("*.py"), *folder.glob("*/__init__.py"))]
        found = [match for path in sources for match in line.findall(path.read_text("utf-8"))]
    except OSError:
        return None
    return dict(sorted((int(code), name) for code, name in found)) or None


_Entry = TypeVar("_Entry")
_Registered = TypeVar("_Registered")


class Registry(Generic[_Entry]):
    """Names of one kind of thing, with the numbers TNN's tool uses for them.

    Parameters
    ----------
    kind : str
        What an entry is, for messages: "observer".
    package : str
        The package whose modules register themselves; imported at the first look-up.
    """

    def __init__(self, kind: str, package: str):
        self.kind = kind
        self._package = package
        self._entries: dict[str, _Entry] = {}
        self._codes: dict[int, str] = {}
        self._loaded = False
        #: Another thread must not look up names while they are still coming in.
        self._lock = threading.RLock()

    def register(self, name: str, code: int) -> Callable[[_Registered], _Registered]:
        """Decorator: enter a class or function under a name and a number, both unused so far."""

        def enter(entry: Any) -> Any:  # an entry; returned as what it is, not as any of its kind
            if name in self._entries or code in self._codes:
                raise ValueError(f"{self.kind} {name} ({code}) is registered twice")
            self._entries[name] = entry
            self._codes[code] = name
            return entry

        return enter

    def find(self, name: str) -> _Entry:
        """The entry of that name.

        Raises
        ------
        ConfigError
            There is none; the known names are listed.
        """
        self._load()
        if name not in self._entries:
            plugins.load_installed()
        if name not in self._entries:
            close = get_close_matches(name, self._entries, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ConfigError(f"no {self.kind} {name!r}{hint}; known: {', '.join(self.codes().values())}")
        return self._entries[name]

    def codes(self) -> dict[int, str]:
        """Names by number, in order of the numbers."""
        self._load()
        return dict(sorted(self._codes.items()))

    def _load(self) -> None:
        with self._lock:
            if self._loaded:
                return
            self._loaded = True
            package = importlib.import_module(self._package)
            for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
                importlib.import_module(f"{self._package}.{module}")
