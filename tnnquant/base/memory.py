"""How much memory a model may ask for: dims come from files, and are compared with the machine before anything is made.

Where the system promises more memory than it has, an allocation succeeds, and the process is killed when it is used.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from math import prod

from tnnquant.errors import GraphError

__all__ = ["MAX_RANK", "machine_bytes", "refuse_giant", "release_freed"]


@cache
def machine_bytes() -> int:
    """Memory of the machine; a number that stops nobody where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 62


def release_freed() -> None:
    """Give the system back what arrays have freed: the C library of Linux keeps it otherwise, in pieces, where the next
    arrays, of other sizes, do not fit. Elsewhere it does nothing."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


#: Most dims of an array: as many as NumPy 1 takes; TNN itself never goes beyond eight.
MAX_RANK = 32


def refuse_giant(dims: Sequence[int], item_bytes: int, what: str) -> None:
    """Refuse dims of which there can be no array.

    Parameters
    ----------
    dims : sequence of int
    item_bytes : int
        Bytes of an element.
    what : str
        What has the dims, for the message.

    Raises
    ------
    GraphError
        There are too many dims, or the array is larger than the machine's memory.
    """
    if len(dims) > MAX_RANK:
        raise GraphError(f"{what} has {len(dims)} dims, expected at most {MAX_RANK}")
    size = prod(dims) * item_bytes
    if size > machine_bytes():
        shown = "x".join(map(str, dims))
        raise GraphError(
            f"{what} has dims {shown}, {size / 1e9:.3g} GB, more than the memory of this machine; check the "
            "parameters, and the dims of the model's inputs ({parameter('input_dims')} gives others)"
        )
