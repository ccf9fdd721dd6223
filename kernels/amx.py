"""Whether int8 matrix products may use AMX tiles in this process.

Linux saves the tiles' registers, 8 KB per thread, only for a process that has asked for it (``arch_prctl``). Before
that the first tile instruction ends the process, so it must be asked, and granted, before a plan contains one: never on
import, and never assumed because machine code for it is in the cache. The grant is for the whole process: for the
threads it has, for later ones, and for its forks.

It is refused where a thread has a signal stack too small for the larger frames (ENOSPC), by sandboxes (EPERM, ENOSYS)
and by systems before Linux 5.16 (EINVAL). The convolutions then take the vector instructions. A path that
``TNNQUANT_ISA`` asks for by name is not replaced: that is an error.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import sys

from tnnquant.errors import ConfigError
from tnnquant.kernels.target import PATHS, available_paths, isa

__all__ = ["FALLBACK", "path_in_use", "refused_paths", "request", "tiles"]

#: The instruction path of a process that may not use its tiles: all else is the same.
FALLBACK = "avx512vnni"
_ARCH_PRCTL, _REQUEST, _TILE_DATA = 158, 0x1023, 18  # system call of x86-64, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA


def request() -> int:
    """Ask the system for tiles in this process: 0 if granted, else the errno (ENOSYS on another system)."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return errno.ENOSYS
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    if libc.syscall(*map(ctypes.c_long, (_ARCH_PRCTL, _REQUEST, _TILE_DATA))) == 0:
        return 0
    return ctypes.get_errno() or errno.ENOSYS


@functools.cache
def _refused() -> int:
    return request()


@functools.cache
def tiles() -> str:
    """What multiplies tiles here: ``amx``, ``plain``, or an empty string for nothing; asks the system once.

    Raises
    ------
    ConfigError
        ``TNNQUANT_ISA`` is ``amx``, and the system refuses.
    """
    path = isa()
    if path.tiles != "amx":
        return path.tiles
    refused = _refused()
    if not refused:
        return path.tiles
    if os.environ.get("TNNQUANT_ISA", "").strip().lower() == path.name:
        why = f"{errno.errorcode.get(refused, 'error')} ({refused}): {os.strerror(refused)}"
        if refused == errno.ENOSPC:
            why += "; a thread of this process has a signal stack too small for it"
        raise ConfigError(
            f"TNNQUANT_ISA: this CPU has amx, but the system refused the process its tiles: {why}; "
            f"unset the variable, or set it to {FALLBACK}"
        )
    return ""


def path_in_use() -> str:
    """Name of the instruction path that int8 kernels take: that of :func:`~tnnquant.kernels.target.isa`, unless its
    tiles are refused.
    """
    path = isa()
    return FALLBACK if path.tiles == "amx" and not tiles() else path.name


def refused_paths() -> list[str]:
    """Names of the paths that the CPU has and the system refuses; asks it if there are any."""
    asking = [name for name in available_paths() if PATHS[name].tiles == "amx"]
    return asking if asking and _refused() else []
