"""The LSTM kernel against its naive twin."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.kernels.lstm_f32 import lstm_f32, lstm_f32_naive, pack_lstm_f32

# steps, batch, inputs, hidden, directions, reverse
CASES = [
    (1, 1, 1, 1, 1, False),
    (7, 1, 5, 33, 1, False),
    (6, 1, 17, 16, 2, False),
    (5, 2, 3, 15, 1, True),
    (4, 9, 8, 31, 2, False),
    (3, 40, 6, 20, 1, False),
]


def _arrays(rng, steps, batch, length, hidden, dirs):
    def random(*shape):
        return (rng.standard_normal(shape) * 0.7).astype(np.float32)

    weights = random(dirs, 4 * hidden, length), random(dirs, 4 * hidden, hidden), random(dirs, 8 * hidden)
    return random(steps, batch, length), weights, random(dirs, batch, hidden), random(dirs, batch, hidden)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_naive(rng, case):
    *sizes, reverse = case
    steps, batch, _, hidden, dirs = sizes
    x, weights, h, c = _arrays(rng, *sizes)
    wanted = np.empty((steps, batch, dirs * hidden), np.float32)
    wanted_h, wanted_c = h.copy(), c.copy()
    backwards = np.array([reverse, True][:dirs])
    lstm_f32_naive(x, *weights, backwards, wanted_h, wanted_c, wanted)

    got = lstm_f32(x, pack_lstm_f32(*weights), reverse, h, c, np.full_like(wanted, np.nan))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(h, wanted_h, rtol=0, atol=1e-6)
    np.testing.assert_allclose(c, wanted_c, rtol=0, atol=1e-6 * np.abs(wanted_c).max())


def test_saturated_gates(rng):
    x = np.array([[[1e4]], [[-1e4]]], np.float32)
    weights = np.ones((1, 4, 1), np.float32), np.zeros((1, 4, 1), np.float32), np.zeros((1, 8), np.float32)
    h, c = np.zeros((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
    y = lstm_f32(x, pack_lstm_f32(*weights), False, h, c, np.empty((2, 1, 1), np.float32))
    np.testing.assert_allclose(y.ravel(), [np.tanh(1), 0], rtol=1e-6)


def test_a_sequence_does_not_depend_on_the_others(rng):
    x, weights, h, c = _arrays(rng, 4, 11, 6, 10, 1)
    packed = pack_lstm_f32(*weights)
    first = [array[:, 7:8].copy() for array in (x, h, c)]
    one = lstm_f32(first[0], packed, False, *first[1:], np.empty((4, 1, 10), np.float32))
    whole = lstm_f32(x, packed, False, h, c, np.empty((4, 11, 10), np.float32))
    np.testing.assert_array_equal(whole[:, 7:8], one)
