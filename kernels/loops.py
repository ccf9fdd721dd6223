"""Loops over fp32 arrays of any strides: the axes merged to at most three, cut into tasks of a program.

What element-wise kernels share. A kernel is called a row at a time, with contiguous columns or, for an operand that is
repeated, a single value.
"""

from __future__ import annotations

import functools
from typing import TypeAlias

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.jit import Kernel, inline

__all__ = ["BLOCK", "first_row", "loop_nest", "loop_op"]

#: Elements of a task, about: 64 KiB of each array.
BLOCK = 16384


Nest: TypeAlias = tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]
"""Three dims, and of each array three steps in bytes."""


@functools.lru_cache(maxsize=4096)
def _merged(shape: tuple[int, ...], *strides: tuple[int, ...]) -> Nest | None:
    axes = sorted((i for i in range(len(shape)) if shape[i] > 1), key=lambda i: -strides[0][i])
    dims, steps = [1], [[4] * len(strides)]
    for i in axes:
        mine = [s[i] for s in strides]
        if all(outer == inner * shape[i] for outer, inner in zip(steps[-1], mine, strict=True)) or dims[-1] == 1:
            dims[-1], steps[-1] = dims[-1] * shape[i], mine
        else:
            dims.append(shape[i])
            steps.append(mine)
    if len(dims) > 3 or steps[-1][0] != 4 or any(step not in (0, 4) for step in steps[-1]):
        return None
    pad = 3 - len(dims)
    return (1,) * pad + tuple(dims), tuple(
        (0,) * pad + tuple(steps[axis][i] for axis in range(len(dims))) for i in range(len(strides))
    )


def loop_nest(out: np.ndarray, *operands: np.ndarray) -> Nest | None:
    """The loops over float32 arrays of the shape of ``out``, which may be views with strides of 0.

    Returns
    -------
    (dims, strides) or None
        dims, tuple of 3 int: outer, rows, columns; strides: for out and each operand the bytes from one index of these
        to the next, that of a column being 4 or 0 (of out: 4). None: the arrays need more than three loops, the
        innermost is not contiguous, or they are empty.
    """
    return None if out.size == 0 else _merged(out.shape, out.strides, *(x.strides for x in operands))


def loop_op(task: Kernel, addresses: list[int], nest: Nest, *parameters: int) -> np.ndarray:
    """The op of a task function over a nest.

    Its words from ARGS on: outer, rows, columns, rows per task, columns per task; address and three strides in bytes of
    every array; the parameters.
    """
    (outer, rows, columns), strides = nest
    columns_task = min(columns, BLOCK)
    rows_task = max(1, BLOCK // columns)
    tasks = -(-columns // columns_task) * -(-(outer * rows) // rows_task)
    arrays = [word for address, steps in zip(addresses, strides, strict=True) for word in (address, *steps)]
    return program.new_op(task, tasks, 0, [outer, rows, columns, rows_task, columns_task, *arrays, *parameters])


@inline
def first_row(args, index):
    """What a task covers: outer and row index of its first row, number of rows, first column, columns.

    ``args``: the first five words of the op from ARGS on.
    """
    rows, columns, rows_task, columns_task = args[1], args[2], args[3], args[4]
    column_tasks = (columns + columns_task - 1) // columns_task
    c = index % column_tasks * columns_task
    row = index // column_tasks * rows_task
    count = min(rows_task, args[0] * rows - row)
    return row // rows, row % rows, count, c, min(columns_task, columns - c)
