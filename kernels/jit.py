"""The one decorator for compiled functions, and where their machine code is cached.

Numba's own cache key does not contain the source of called functions: after an edit in one kernel file, callers in
others would run stale machine code. The cache folder is therefore keyed by a hash of every file of this package, by
``TNNQUANT_ISA`` and by the versions of Numba, llvmlite, NumPy and Python. The first of these folders that can be
written is used: ``$TNNQUANT_CACHE_DIR``, ``$NUMBA_CACHE_DIR``, the user's cache folder, a private temporary folder;
if none can, caching is off and :data:`CACHE_DIR` is None. A cache that is damaged, or full, costs the time to compile,
nothing else.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# The OpenMP runtime of GCC lets waiting threads spin for milliseconds, which on a busy machine holds up the threads
# waited for. It reads this when Numba starts its threads.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import llvmlite
import numba
import numpy as np
from numba.core.runtime import rtsys

__all__ = ["CACHE_DIR", "before_compiling", "cache_is_cold", "inline", "kernel"]


def _source_key() -> str:
    digest = hashlib.sha256()
    for version in (numba.__version__, llvmlite.__version__, np.__version__, sys.version):
        digest.update(version.encode() + b"\0")
    # The instruction path (kernels/target.py) decides what is emitted, and Numba's key does not see it.
    digest.update(os.environ.get("TNNQUANT_ISA", "").strip().lower().encode() + b"\0")
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _candidate_roots() -> list[Path]:
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


def _is_private(path: Path) -> bool:
    """Whether cached machine code in ``path`` can only have been written by this user (it is loaded and run)."""
    if not hasattr(os, "getuid"):
        return True
    return path.stat().st_uid in (os.getuid(), 0)


def _choose_cache_dir() -> Path | None:
    key = _source_key()
    for root in _candidate_roots():
        folder = root / f"kernels-{key}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
            if _is_private(folder):
                return folder
        except OSError:
            continue
    return None


CACHE_DIR: Path | None = _choose_cache_dir()
_announce: Callable[[], None] | None = None


def cache_is_cold() -> bool:
    """Whether no kernel has been compiled yet on this machine for this version."""
    return CACHE_DIR is None or next(CACHE_DIR.rglob("*.nbi"), None) is None


def _load_at_once(cache) -> None:
    """Have a function's compiled code loaded without what only compiling needs.

    Numba imports all its typing rules (0.15 s a process) before it looks for cached code, which needs none of them but
    the symbols of its runtime. Where code is missing, compiling imports them.
    """
    load, guard = getattr(cache, "_load_overload", None), getattr(cache, "_guard_against_spurious_io_errors", None)
    if load is None or guard is None:
        return  # another Numba: slower, but right

    def load_overload(signature, target_context):
        rtsys.initialize(target_context)
        found = None
        with guard():
            found = load(signature, target_context)
        if found is None:
            _announce_compiling()
        return found

    cache.load_overload = load_overload


def before_compiling(announce: Callable[[], None]) -> None:
    """Have ``announce`` called once before a kernel is compiled, if one has to be in this process.

    Where that cannot be foreseen, because nothing is cached, it is called at once.
    """
    global _announce
    _announce = announce
    if CACHE_DIR is None:
        _announce_compiling()


def _announce_compiling() -> None:
    global _announce
    announce, _announce = _announce, None
    if announce:
        announce()


def _forgive(cache) -> None:
    """Have failures of a function's cache be no failures of the function: it is compiled, and not kept."""
    load, save = cache.load_overload, cache.save_overload

    def forget() -> None:
        with suppress(OSError, AttributeError):
            os.unlink(cache._cache_file._index_path)

    def load_overload(signature, target_context):
        try:
            return load(signature, target_context)
        except Exception:  # whatever reading a damaged pickle raises
            _announce_compiling()
            forget()
            return None

    def save_overload(signature, data):
        try:
            save(signature, data)
        except Exception:  # a full disk, a folder that vanished
            forget()

    cache.load_overload, cache.save_overload = load_overload, save_overload


def kernel(function=None, *, parallel: bool = False, inline: bool = False):
    """Decorate a function as a kernel: ``njit``, lazily compiled, cached, GIL released, IEEE arithmetic.

    Parameters
    ----------
    parallel : bool
        Allow ``prange``; one such loop a kernel, thin around a serial inner function (compile time).
    inline : bool
        Ask LLVM to inline the function into its callers (``alwaysinline``); for helpers of a few lines.
    """
    if function is None:
        return lambda fn: kernel(fn, parallel=parallel, inline=inline)
    options = {"parallel": parallel, "nogil": True, "error_model": "numpy", "fastmath": False}
    if inline:
        options["forceinline"] = True
    dispatcher = numba.njit(**options)(function)
    # An inlined helper lives in its callers' machine code; caching it alone would only litter the folder.
    if CACHE_DIR is not None and not inline and hasattr(dispatcher, "enable_caching"):
        # The folder is read when caching is enabled; it is set only for that moment, so that other users of Numba in
        # this process keep theirs.
        saved, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(CACHE_DIR)
        try:
            dispatcher.enable_caching()
            _load_at_once(dispatcher._cache)
            _forgive(dispatcher._cache)
        except RuntimeError:  # a function typed at a prompt has no file to key a cache entry by
            pass
        finally:
            numba.config.CACHE_DIR = saved
    return dispatcher


def inline(function):
    """A small helper that is inlined into the kernels that call it."""
    return kernel(function, inline=True)
