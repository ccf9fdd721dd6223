"""The memory order of blobs: a blob may be a transposed view, or a slice, of a contiguous array."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tnnquant.layers.movement import copy_into

__all__ = ["dense", "like", "matching", "memory_axes", "restored", "split_at"]


def memory_axes(x: np.ndarray) -> tuple[int, ...]:
    """The axes of ``x`` from the slowest to the fastest in memory; (0, 2, 3, 1) for channels-last images."""
    if x.flags.c_contiguous:
        return tuple(range(x.ndim))
    return tuple(sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis])))


def restored(x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """A view of an array in memory order ``axes`` with its axes in logical order."""
    return x.transpose([axis for _, axis in sorted(zip(axes, range(len(axes)), strict=True))])


def dense(x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """``x`` in the order of its memory as a C-contiguous array, and the axes that :func:`restored` needs.

    Copies only what is not dense: slices, repeated views.
    """
    axes = memory_axes(x)
    x = x.transpose(axes)
    return x if x.flags.c_contiguous else copy_into(np.empty(x.shape, x.dtype), x), axes


def like(x: np.ndarray) -> np.ndarray:
    """A fresh dense array of the shape, type and memory order of ``x``."""
    axes = memory_axes(x)
    return restored(np.empty([x.shape[axis] for axis in axes], x.dtype), axes)


def matching(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """``x``, which NumPy can broadcast to ``out``, in the memory order of ``out``; a copy if it is in another."""
    axes = memory_axes(out)
    x = x.reshape((1,) * (out.ndim - x.ndim) + x.shape).transpose(axes)
    return restored(x if x.flags.c_contiguous else copy_into(np.empty(x.shape, x.dtype), x), axes)


def split_at(x: np.ndarray, position: int) -> tuple[int, int, int]:
    """Dims of a contiguous array seen as (outer, n, inner) around the axis at ``position``."""
    return prod(x.shape[:position]), x.shape[position], prod(x.shape[position + 1 :])
