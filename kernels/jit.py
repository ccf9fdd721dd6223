"""The one decorator for compiled functions; :mod:`~tnnquant.kernels.cache` keeps what they compile to."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

# The OpenMP runtime of GCC lets waiting threads spin for milliseconds, which on a busy machine holds up the threads
# waited for. It reads this when Numba starts its threads.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numba
from numba.core import event

from tnnquant.kernels.cache import Entries, choose_folder

__all__ = [
    "CACHE_DIR", "Intrinsic", "Kernel", "before_compiling", "cache_is_cold", "compiling_seconds", "inline", "kernel",
]  # fmt: skip

Kernel: TypeAlias = Any
"""What :func:`kernel` makes: a dispatcher of Numba, which publishes no types for it."""
Intrinsic: TypeAlias = Any
"""What kernels call that emits LLVM IR of its own; as above."""

CACHE_DIR: Path | None = choose_folder()
_announce: Callable[[], None] | None = None
#: Hears of the lock that compiling holds, as loading from the cache does; threads that wait for it count once.
_COMPILED = event.TimingListener()
event.register("numba:compiler_lock", _COMPILED)


def cache_is_cold() -> bool:
    """Whether no kernel has been compiled yet on this machine for this version."""
    return CACHE_DIR is None or next(CACHE_DIR.rglob("*.nbc"), None) is None


def compiling_seconds() -> float:
    """How long kernels have been compiled in this process, or loaded from the cache, in seconds."""
    return float(_COMPILED.duration) if _COMPILED.done else 0.0


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


def kernel(function: Callable[..., Any] | None = None, *, parallel: bool = False, inline: bool = False) -> Kernel:
    """Decorate a function as a kernel: ``njit``, lazily compiled, cached, GIL released, IEEE arithmetic.

    Parameters
    ----------
    parallel : bool
        Allow ``prange``; one such loop per kernel, thin around a serial inner function (compile time).
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
        with suppress(OSError, TypeError, ValueError):  # typed at a prompt: there is no file to key an entry by
            dispatcher._cache = Entries(function, CACHE_DIR, _announce_compiling)
    return dispatcher


def inline(function: Callable[..., Any]) -> Kernel:
    """A small helper that is inlined into the kernels that call it."""
    return kernel(function, inline=True)
