"""Errors of octave histograms: the twin, and values quantized one by one."""

import numpy as np
import pytest

from tnnquant.kernels import octave_errors as module
from tnnquant.kernels.octave_errors import octave_errors, octave_errors_naive
from tnnquant.kernels.octaves import octave_edges


def _histogram(values):
    edges = octave_edges()
    counts = np.stack([np.histogram(np.abs(row), edges)[0] for row in values]).astype(np.float32)
    used = np.flatnonzero(counts.any(axis=0))
    return np.ascontiguousarray(counts[:, used[0] : used[-1] + 1]), int(used[0])


@pytest.mark.parametrize("levels", [127, 254, 255])
def test_errors_are_those_of_the_twin_and_of_the_values(rng, levels):
    values = rng.exponential(size=(19, 4000)) * 2.0 ** rng.integers(-6, 6, (19, 1))
    counts, first = _histogram(values)
    grid = octave_edges()[1:-1]
    rows = np.searchsorted(grid, values.max(axis=1, keepdims=True) / levels * [0.02, 0.2, 0.4, 1.2, 4, 900])
    rounding, clipping = octave_errors(counts, first, rows.astype(np.int32), levels)
    naive = np.empty((2, *rows.shape))
    tables = module._moments(), module._rounding_table(), module._last_bins(levels)
    octave_errors_naive(counts, first, rows.astype(np.int32), grid, levels, *tables, *naive)
    np.testing.assert_allclose(rounding, naive[0], rtol=1e-9, atol=1e-9 * naive[0].max())
    np.testing.assert_allclose(clipping, naive[1], rtol=1e-9, atol=1e-9 * naive[1].max())
    for slot, trial in np.ndindex(rows.shape):
        scale = grid[rows[slot, trial]]
        steps = values[slot] / scale
        error = np.square(np.minimum(np.floor(steps + 0.5), levels) * scale - values[slot])
        over = steps > levels + 0.5
        assert rounding[slot, trial] == pytest.approx(error[~over].sum(), rel=0.15, abs=0.02 * error.sum())
        assert clipping[slot, trial] == pytest.approx(error[over].sum(), rel=0.15, abs=0.02 * error.sum())


def test_bins_on_one_side_of_the_table_alone():
    counts = np.array([[5, 7]], np.float32)
    grid = octave_edges()[1:-1]
    squares = module._moments()[1]
    small, large = octave_errors(counts, 100, np.array([[700]], np.int32), 127)
    assert (small[0, 0], large[0, 0]) == (pytest.approx(5 * squares[100] + 7 * squares[101]), 0)
    small, large = octave_errors(counts, 700, np.array([[10]], np.int32), 127)
    most, mean = 127 * grid[10], module._moments()[0]
    wanted = sum(n * (squares[b] - 2 * most * mean[b] + most**2) for n, b in ((5, 700), (7, 701)))
    assert (small[0, 0], large[0, 0]) == (0, pytest.approx(wanted))


def test_nothing_to_do():
    rounding, clipping = octave_errors(np.zeros((0, 4), np.float32), 3, np.zeros((0, 2), np.int32), 127)
    assert rounding.shape == clipping.shape == (0, 2)
