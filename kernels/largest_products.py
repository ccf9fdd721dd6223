"""The largest product along a row, for several vectors: how wide weights are once they hold the scales of their inputs.

Versions: the naive twin; the op, one task per few rows, one vector lane per trial.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import _pointer, f32_view, words

__all__ = ["largest_products", "largest_products_naive"]

_ROWS = 8  # of a task


@kernel
def largest_products_naive(magnitudes, factors, largest):
    # magnitudes: float32 (rows, columns); factors: float32 (columns, trials); largest: float32 (rows, trials)
    for row in range(magnitudes.shape[0]):
        for trial in range(factors.shape[1]):
            most = np.float32(0)
            for column in range(magnitudes.shape[1]):
                most = max(most, magnitudes[row, column] * factors[column, trial])
            largest[row, trial] = most


@kernel
def _products_task(op, index, scratch):
    # op words from ARGS on: addresses of magnitudes, factors, largest as in the naive twin; rows, columns, trials
    args = words(op, program.WORDS)[program.ARGS :]
    rows, columns, trials = args[3], args[4], args[5]
    factors = carray(_pointer(args[1], np.float32), (columns, trials))
    for row in range(index * _ROWS, min(index * _ROWS + _ROWS, rows)):
        magnitudes = f32_view(args[0] + 4 * columns * row, columns)
        largest = f32_view(args[2] + 4 * trials * row, trials)
        for trial in range(trials):
            largest[trial] = np.float32(0)
        for column in range(columns):
            magnitude, mine = magnitudes[column], factors[column]
            for trial in range(trials):
                product = magnitude * mine[trial]
                largest[trial] = product if product > largest[trial] else largest[trial]


def largest_products(magnitudes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """``max over columns of magnitudes[row, column] * factors[column, trial]``, float32 (rows, trials).

    Parameters
    ----------
    magnitudes : float32 (rows, columns)
        0 or more, C-contiguous, as are the others.
    factors : float32 (columns, trials)
        0 or more.
    """
    largest = np.zeros((len(magnitudes), factors.shape[1]), np.float32)
    if largest.size and magnitudes.size:
        args = [program.data_address(array) for array in (magnitudes, factors, largest)]
        args += [*magnitudes.shape, factors.shape[1]]
        op = program.new_op(_products_task, -(-len(magnitudes) // _ROWS), 0, args)
        program.run(op)
    return largest
