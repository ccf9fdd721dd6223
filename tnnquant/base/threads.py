"""How many threads the kernels use."""

from __future__ import annotations

import os
import sys

from tnnquant.base.wording import parameter
from tnnquant.errors import ConfigError

__all__ = ["available_cores", "set_threads", "threading_layer", "threads_in_use"]


def available_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(count: int | None) -> int:
    """Let kernels use ``count`` threads from now on; None: one per core. Returns the number in force.

    Results do not depend on it.

    Raises
    ------
    ConfigError
        Fewer than 1, or more than the machine's cores (``NUMBA_NUM_THREADS`` raises that limit).
    """
    limit = int(os.environ.get("NUMBA_NUM_THREADS") or available_cores())
    if count is None:
        return limit
    if not 1 <= count <= limit:
        raise ConfigError(f"{parameter('threads')} is {count}, expected 1 to {limit}, the cores this process may use")
    if "numba" in sys.modules:
        import numba

        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    else:
        # Read by Numba when it is imported; the pool is then no larger than needed.
        os.environ["NUMBA_NUM_THREADS"] = str(count)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(count))
    return count


def threads_in_use() -> int:
    """The number of threads that kernels use now."""
    import numba

    return int(numba.get_num_threads())


def threading_layer() -> str:
    """What runs the threads of kernels: ``omp``, ``tbb`` or ``workqueue``."""
    import numba

    numba.get_num_threads()  # starts the threads, if nothing has
    return str(numba.threading_layer())
