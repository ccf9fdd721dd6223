"""Constants that bring clipped sums closer to what they should be, row by row: biases judged after the activation.

Versions: the naive twin; the op, one task per row. All sums are float64 in a fixed order.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import f32_view, f64_view, words

__all__ = ["clipped_shift", "clipped_shift_naive"]


@kernel
def clipped_shift_naive(sums, wanted, low, high, rounds, shift):
    # sums: float64 (rows, places); wanted: float32 (rows, places); low, high: float64 (rows,); rounds: int; shift:
    # float64 (rows,)
    places = sums.shape[1]
    for row in range(sums.shape[0]):
        shift[row] = 0.0
        for _ in range(rounds):
            missing, free = 0.0, 0
            for place in range(places):
                value = sums[row, place] + shift[row]
                if low[row] < value < high[row]:
                    missing += wanted[row, place] - value
                    free += 1
            shift[row] += missing / (free + places)


@kernel
def _shift_task(op, index, scratch):
    # op words from ARGS on: addresses of sums, wanted, low, high, shift as in the naive twin; places, rounds
    args = words(op, program.WORDS)[program.ARGS :]
    places, rounds = args[5], args[6]
    sums = f64_view(args[0] + 8 * places * index, places)
    wanted = f32_view(args[1] + 4 * places * index, places)
    low = f64_view(args[2] + 8 * index, 1)[0]
    high = f64_view(args[3] + 8 * index, 1)[0]
    shift = 0.0
    for _ in range(rounds):
        missing, free = 0.0, 0
        for place in range(places):
            value = sums[place] + shift
            if low < value < high:
                missing += wanted[place] - value
                free += 1
        shift += missing / (free + places)
    f64_view(args[4] + 8 * index, 1)[0] = shift


def clipped_shift(sums: np.ndarray, wanted: np.ndarray, low: np.ndarray, high: np.ndarray, rounds: int) -> np.ndarray:
    """What to add to each row so that its values, clipped, come closer to the ones wanted, float64 (rows,).

    Each round adds the differences (wanted - value) of the places that are not clipped, divided by their number plus
    the number of all places. The second term damps: rows that are clipped nearly everywhere hardly move.

    Parameters
    ----------
    sums : float64 (rows, places)
        C-contiguous, as are all others.
    wanted : float32 (rows, places)
    low, high : float64 (rows,)
        The values are clipped to these; they may be infinite.
    rounds : int
        How often a shift is corrected.
    """
    shift = np.zeros(len(sums))
    if sums.size:
        args = [program.data_address(array) for array in (sums, wanted, low, high, shift)]
        program.run(program.new_op(_shift_task, len(sums), 0, [*args, sums.shape[1], rounds]))
    return shift
