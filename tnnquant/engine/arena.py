"""Where blobs live: fixed places in one block of memory, shared by blobs that are never alive together.

A blob of rank 4 is channels-last in memory. The inputs of a concat along the channels may live inside its output, so
that nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from tnnquant.base.memory import machine_bytes
from tnnquant.base.wording import parameter
from tnnquant.errors import GraphError

__all__ = ["Lifetime", "allocate", "blob_array", "live_set", "place"]

ALIGNMENT = 64


@dataclass(frozen=True)
class Lifetime:
    """Bytes that must be kept from step ``first`` to step ``last``, both included."""

    size: int
    first: int
    last: int


def place(lifetimes: Mapping[str, Lifetime]) -> tuple[dict[str, int], int]:
    """Offsets for every lifetime such that no two that overlap in time overlap in space, and the total size.

    Greedy, largest first, each at the lowest offset that is free for all its life; deterministic.
    """
    offsets: dict[str, int] = {}
    placed: list[tuple[int, int, Lifetime]] = []
    total = 0
    for name, life in sorted(lifetimes.items(), key=lambda item: (-item[1].size, item[1].first, item[0])):
        size = -(-life.size // ALIGNMENT) * ALIGNMENT
        neighbours = sorted(
            (start, stop) for start, stop, other in placed if other.first <= life.last and life.first <= other.last
        )
        offset = 0
        for start, stop in neighbours:
            if offset + size <= start:
                break
            offset = max(offset, stop)
        offsets[name] = offset
        placed.append((offset, offset + size, life))
        total = max(total, offset + size)
    return offsets, total


def live_set(lifetimes: Mapping[str, Lifetime]) -> int:
    """The most bytes that are alive at one step: no placement takes less."""
    begun = {life.first for life in lifetimes.values()}
    sizes = [sum(life.size for life in lifetimes.values() if life.first <= step <= life.last) for step in sorted(begun)]
    return max(sizes, default=0)


def allocate(size: int) -> np.ndarray:
    """A zeroed, aligned uint8 (size,) block.

    Raises
    ------
    GraphError
        The machine does not have as much memory. It is checked first, because some systems promise more than they have.
    """
    try:
        if size > machine_bytes():
            raise MemoryError
        block = np.zeros(size + ALIGNMENT, np.uint8)
    except (MemoryError, ValueError):
        raise GraphError(
            f"the blobs of the model take {size / 1e9:.3g} GB at a time, which this machine does not have; check the "
            f"dims of its inputs ({parameter('input_dims')} gives others)"
        ) from None
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + size]


def blob_array(
    block: np.ndarray, offset: int, dims: Sequence[int], dtype: np.dtype, *, is_plain: bool = False
) -> np.ndarray:
    """The blob of logical ``dims`` at ``offset``; rank 4 is channels-last in memory, any other rank, and what
    ``is_plain``, C-contiguous."""
    count = prod(dims)
    flat = block[offset : offset + count * dtype.itemsize].view(dtype)
    if len(dims) == 4 and not is_plain:
        n, c, h, w = dims
        return flat.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    return flat.reshape(dims)
