"""Machine code on disk: where it is kept, what it is keyed by, and how it is thrown away.

Numba's own key holds the source of a function's file alone: after an edit in one kernel file, callers in others would
run stale machine code. It also holds the path of the file, so that no two checkouts share anything, and its index gives
entries numbers, which two processes can give twice. Here an entry is one file, and its name holds all that the code
depends on:

    kernels-{versions, settings, instruction path}/{file}/{function}-{signature, CPU, code}.nbc

The code's part (:mod:`~tnnquant.kernels.code_key`) is a hash of the function and of all that it names, by contents. So
checkouts and virtual environments of the same versions share entries, and an edit compiles only the functions that it
can change.

The first of these folders that can be written is used: ``$TNNQUANT_CACHE_DIR``, ``$NUMBA_CACHE_DIR``, the user's cache
folder, a private temporary folder; if none can, caching is off. A process that added entries removes the least recently
used beyond :data:`LIMIT` when it ends. A cache that is damaged, full or being removed costs the time to compile,
nothing else.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import inspect
import os
import pickle
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import types
from numba.core import config
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from tnnquant.kernels.code_key import code_key
from tnnquant.kernels.target import path_name

__all__ = ["LIMIT", "Entries", "choose_folder", "prune"]

#: Bytes that all entries of a root may take.
LIMIT = 200_000_000
#: Seconds within which an entry need not be marked as used again.
_RECENT = 3600.0
#: Settings of Numba that change what it emits.
_SETTINGS = ("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "DISABLE_INTEL_SVML", "ENABLE_AVX", "LOOP_VECTORIZE", "OPT",
             "SLP_VECTORIZE")  # fmt: skip
#: What a free variable of a kernel may be: anything else has no bytes that are the same in the next process.
_PLAIN = (bool, int, float, str, bytes, type(None))


def version_key() -> str:
    """A hash of versions, settings and instruction path."""
    parts = [numba.__version__, llvmlite.__version__, np.__version__, sys.version, path_name()]
    parts += [f"{name}={getattr(config, name, None)}" for name in _SETTINGS]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def candidate_roots() -> list[Path]:
    """Folders that may hold the cache, best first."""
    roots = [Path(os.environ[name]) for name in ("TNNQUANT_CACHE_DIR", "NUMBA_CACHE_DIR") if os.environ.get(name)]
    try:
        home = Path.home()
    except RuntimeError:  # no HOME and no entry in the user database
        home = None
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        roots.append(Path(os.environ["LOCALAPPDATA"]) / "tnnquant" / "cache")
    elif sys.platform == "darwin" and home:
        roots.append(home / "Library" / "Caches" / "tnnquant")
    elif os.environ.get("XDG_CACHE_HOME"):
        roots.append(Path(os.environ["XDG_CACHE_HOME"]) / "tnnquant")
    elif home:
        roots.append(home / ".cache" / "tnnquant")
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    roots.append(Path(tempfile.gettempdir()) / f"tnnquant-cache-{user}")
    return roots


def is_private(path: Path) -> bool:
    """Whether cached machine code in ``path`` can only have been written by this user (it is loaded and run)."""
    if not hasattr(os, "getuid"):
        return True
    return path.stat().st_uid in (os.getuid(), 0)


def choose_folder() -> Path | None:
    """The folder of entries for these versions; None if none can be written."""
    key = version_key()
    for root in candidate_roots():
        folder = root / f"kernels-{key}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
            if is_private(folder):
                return folder
        except OSError:
            continue
    return None


class Entries(_Cache):
    """The cache of one function, in place of Numba's.

    Parameters
    ----------
    function : function
    folder : Path
        Of :func:`choose_folder`.
    announce : callable ()
        Called when code is missing and will be compiled.

    Raises
    ------
    OSError, TypeError
        The function has no file, or its file cannot be read.
    ValueError
        The function has free variables that make no key.
    """

    def __init__(self, function: Callable[..., Any], folder: Path, announce: Callable[[], None]):
        file = Path(inspect.getfile(function))
        if not file.is_file():
            raise OSError(f"{function.__qualname__}: no file {file}")
        free = [cell.cell_contents for cell in function.__closure__ or ()]
        if not all(isinstance(value, _PLAIN) for value in free):
            raise ValueError(f"{function.__qualname__}: free variables that make no key")
        self._folder = folder / file.stem
        self._name = "".join(c if c.isalnum() or c in "._" else "-" for c in function.__qualname__)
        self._function = function
        self._announce = announce
        self._enabled = True

    @functools.cached_property
    def code(self) -> tuple[str, str]:
        """The function's module and a hash of its code, made at the first call: then all that it names is there."""
        return self._function.__module__, code_key(self._function)

    @property
    def cache_path(self) -> str:
        """Folder of the function's entries."""
        return str(self._folder)

    def enable(self) -> None:
        """Use the cache."""
        self._enabled = True

    def disable(self) -> None:
        """Stop using the cache."""
        self._enabled = False

    def flush(self) -> None:
        """Remove the function's entries."""
        for path in self._folder.glob(f"{self._name}-*.nbc"):
            path.unlink(missing_ok=True)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function, or None.

        Numba imports all its typing rules (0.15 s per process) before it looks for cached code, which needs none of
        them but the symbols of its runtime. Where code is missing, compiling imports them.
        """
        rtsys.initialize(target_context)
        found = None
        if self._enabled:
            with suppress(Exception):  # whatever reading a damaged pickle raises
                found = self._load(self._key(sig, target_context.codegen()), target_context)
        if found is None:
            self._announce()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function."""
        if not self._enabled or data.library.has_dynamic_globals or any(not each.can_cache for each in data.lifted):
            return
        with suppress(Exception):  # a full disk, a folder that vanished
            key = self._key(sig, data.codegen)
            body = dumps((key, data._reduce()))
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._path(key), zlib.crc32(body).to_bytes(4, "little") + body)
            _prune_at_exit(self._folder.parent.parent)

    def _key(self, sig: Any, codegen: Any) -> tuple:
        # A kernel that is an argument is compiled into this one.
        given = sig if isinstance(sig, tuple) else getattr(sig, "args", ())
        passed = tuple(code_key(each.dispatcher.py_func) for each in given if isinstance(each, types.Dispatcher))
        return sig, codegen.magic_tuple(), self.code, passed

    def _path(self, key: tuple) -> Path:
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return self._folder / f"{self._name}-{digest}.nbc"

    def _load(self, key: tuple, target_context: Any) -> Any:
        path = self._path(key)
        data = path.read_bytes()
        if zlib.crc32(memoryview(data)[4:]) != int.from_bytes(data[:4], "little"):
            return None
        found, payload = pickle.loads(memoryview(data)[4:])
        if found != key:  # two types with one name
            return None
        _mark_used(path)
        return CompileResult._rebuild(target_context, *payload)


def _write(path: Path, data: bytes) -> None:
    """Write a file so that it is whole or not there, whoever else writes it."""
    temporary = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex[:16]}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _mark_used(entry: Path) -> None:
    # The time of an entry says when it was last used or made; that of access is kept by few file systems.
    with suppress(OSError):
        if time.time() - entry.stat().st_mtime > _RECENT:
            os.utime(entry)


_to_prune: set[Path] = set()


def _prune_at_exit(root: Path) -> None:
    if root not in _to_prune:
        _to_prune.add(root)
        atexit.register(prune, root)


def prune(root: Path, limit: int | None = None) -> None:
    """Remove the least recently used entries of a root until the rest takes ``limit`` bytes (:data:`LIMIT`) at most.

    Entries of other versions count, and go, like all others.
    """
    entries = []
    for entry in root.glob("kernels-*/*/*"):
        with suppress(OSError):  # another process removes it
            found = entry.stat()
            entries.append((found.st_mtime, found.st_size, entry))
    excess = sum(size for _, size, _ in entries) - (LIMIT if limit is None else limit)
    for _, size, entry in sorted(entries):
        if excess <= 0:
            break
        with suppress(OSError):
            entry.unlink()
        excess -= size
    for folder in (*root.glob("kernels-*/*"), *root.glob("kernels-*")):
        with suppress(OSError):  # not empty, or in use
            folder.rmdir()
