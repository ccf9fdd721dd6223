"""Copy between arrays of any strides: joining, permuting, shuffling, repeating and padding blobs.

Versions, slowest first:

* :func:`strided_copy_naive`: one element at a time.
* :func:`strided_copy`: axes are merged where both arrays allow it and walked in the order of the output. Where the
  innermost run is contiguous on both sides it is one memcpy; else the two axes that are contiguous on one side each
  are walked in tiles of 16, so that every cache line fetched is used before it is lost.

Any element size is moved, without a look at its content.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.simd import copy_bytes, i8_view, i32_view, words

__all__ = ["can_copy", "strided_copy", "strided_copy_naive", "strided_copy_ops"]

_TILE = 16
_TASKS = 16
_MAX_AXES = 6
_BLOCK_BYTES = 1 << 15


@kernel
def strided_copy_naive(x, out):
    # x, out: one shape and element type (here float32, three axes), any strides
    for index in np.ndindex(out.shape):
        out[index] = x[index]


@inline
def _copy_tile_4(source, to, rows, columns, source_row, source_column, to_row, to_column):
    # 4-byte elements; the longer side is the inner loop
    if columns >= rows:
        for a in range(rows):
            for b in range(columns):
                i32_view(to + a * to_row + b * to_column, 1)[0] = i32_view(
                    source + a * source_row + b * source_column, 1
                )[0]
    else:
        for b in range(columns):
            for a in range(rows):
                i32_view(to + a * to_row + b * to_column, 1)[0] = i32_view(
                    source + a * source_row + b * source_column, 1
                )[0]


@inline
def _copy_tile(source, to, rows, columns, source_row, source_column, to_row, to_column, size):
    # elements of any size
    for a in range(rows):
        for b in range(columns):
            for byte in range(size):
                i8_view(to + a * to_row + b * to_column + byte, 1)[0] = i8_view(
                    source + a * source_row + b * source_column + byte, 1
                )[0]


@kernel
def _copy_plane(source, to, rows, columns, source_row, source_column, to_row, to_column, size, whole):
    # Addresses and steps in bytes. whole: the columns are contiguous on both sides.
    if whole and columns * size >= 32:
        for a in range(rows):
            copy_bytes(to + a * to_row, source + a * source_row, columns * size)
        return
    if whole and size == 4:
        for a in range(rows):
            target, origin = i32_view(to + a * to_row, columns), i32_view(source + a * source_row, columns)
            for b in range(columns):
                target[b] = origin[b]
        return
    b = np.int64(0)
    while b < columns:
        # A long row is cut into tiles; two or three columns are best walked as they are.
        count = min(np.int64(_TILE), columns - b)
        at, target = source + b * source_column, to + b * to_column
        if size == 4:
            _copy_tile_4(at, target, rows, count, source_row, source_column, to_row, to_column)
        else:
            _copy_tile(at, target, rows, count, source_row, source_column, to_row, to_column, size)
        b += count


@kernel
def _copy_task(op, index, scratch):
    # op words from ARGS on: source, out, tasks, then the plan of _plan
    args = words(op, program.WORDS)[program.ARGS :]
    source, to, tasks, total, size, whole, block, blocks = (
        args[0], args[1], args[2], args[3], args[4], args[5], args[6], args[7],
    )  # fmt: skip
    dims, steps, to_steps = args[8:14], args[14:20], args[20:26]
    first, last = total * index // tasks, total * (index + 1) // tasks
    # The position of the first block of rows: four outer axes and the block.
    rest = first // blocks
    at_block = first % blocks
    at3 = rest % dims[3]
    rest //= dims[3]
    at2 = rest % dims[2]
    rest //= dims[2]
    at1 = rest % dims[1]
    at0 = rest // dims[1]
    for _ in range(first, last):
        row = at_block * block
        offset = at0 * steps[0] + at1 * steps[1] + at2 * steps[2] + at3 * steps[3] + row * steps[4]
        to_offset = at0 * to_steps[0] + at1 * to_steps[1] + at2 * to_steps[2] + at3 * to_steps[3] + row * to_steps[4]
        _copy_plane(source + offset, to + to_offset, min(block, dims[4] - row), dims[5], steps[4], steps[5],
                    to_steps[4], to_steps[5], size, whole)  # fmt: skip
        at_block += 1
        if at_block == blocks:
            at_block = np.int64(0)
            at3 += 1
            if at3 == dims[3]:
                at3 = np.int64(0)
                at2 += 1
                if at2 == dims[2]:
                    at2 = np.int64(0)
                    at1 += 1
                    if at1 == dims[1]:
                        at1 = np.int64(0)
                        at0 += 1


@functools.lru_cache(maxsize=4096)
def _plan(dims: tuple[int, ...], steps: tuple[int, ...], to_steps: tuple[int, ...], size: int) -> list[int] | None:
    """How to walk a copy: total, size, whole, block, blocks, dims (6), steps (6), out steps (6), in bytes.

    None if the axes cannot be merged to six.
    """
    axes = [axis for axis in zip(dims, steps, to_steps, strict=True) if axis[0] != 1]
    axes.sort(key=lambda axis: -abs(axis[2]))
    merged: list[tuple[int, int, int]] = []
    for count, step, to_step in axes:
        if merged and merged[-1][1] == count * step and merged[-1][2] == count * to_step:
            merged[-1] = (merged[-1][0] * count, step, to_step)
        else:
            merged.append((count, step, to_step))
    if len(merged) > _MAX_AXES:
        return None
    inner = merged.pop() if merged else (1, size, size)
    whole = inner[1] == inner[2] == size
    if not whole:
        # Rows of the tiles: the axis along which the input is contiguous, or, if that is short, the innermost long one.
        found = [i for i, axis in enumerate(merged) if axis[1] == size and axis[0] >= 8]
        found = found or [i for i, axis in enumerate(merged) if axis[0] >= 8]
        if found:
            merged.append(merged.pop(found[-1]))
    rows = merged.pop() if merged else (1, 0, 0)
    merged = [(1, 0, 0)] * (_MAX_AXES - 2 - len(merged)) + merged
    block = max(1, _BLOCK_BYTES // (inner[0] * size)) if whole else max(_TILE, _TILE * 64 // inner[0])
    block = min(block, rows[0])
    blocks = -(-rows[0] // block)
    total = blocks
    for axis in merged:
        total *= axis[0]
    table = [*merged, rows, inner]
    columns = [[axis[i] for axis in table] for i in range(3)]
    return [total, size, int(whole), block, blocks, *columns[0], *columns[1], *columns[2]]


def can_copy(x: np.ndarray, out: np.ndarray) -> bool:
    """Whether :func:`strided_copy` takes the pair: at most six axes once merged, no axis of the output repeated."""
    repeated = any(step == 0 and count > 1 for count, step in zip(out.shape, out.strides, strict=True))
    return not repeated and _plan(out.shape, x.strides, out.strides, out.itemsize) is not None


def strided_copy_ops(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The ops of :func:`strided_copy`, one per pair, at least one. The arrays must stay alive."""
    ops = []
    for x, out in pairs:
        if out.size == 0:
            continue
        plan = _plan(out.shape, x.strides, out.strides, out.itemsize)
        assert plan is not None  # the pair passes can_copy
        tasks = min(_TASKS, plan[0])
        args = [program.data_address(x), program.data_address(out), tasks, *plan]
        ops.append(program.new_op(_copy_task, tasks, 0, args))
    if not ops:
        return program.new_op(_copy_task, 0, 0, [])
    return np.concatenate(ops) if len(ops) > 1 else ops[0]


def strided_copy(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Copy the first array of each pair into the second, one pair after another, all in one parallel program.

    Parameters
    ----------
    pairs : iterable of (x, out)
        ``x`` and ``out`` of one shape and element size, any strides (0 and negative ones for ``x`` too); each pair
        passes :func:`can_copy`. An ``x`` may be part of an earlier ``out``; the two of a pair do not overlap.
    """
    program.run(strided_copy_ops(pairs))
