"""Biases that suit what the activation leaves of the outputs."""

import numpy as np
import pytest

from tnnquant.recipes.best.layer_input import Moments
from tnnquant.recipes.best.rounding import moved_bias, offset_bias, round_layer
from tnnquant.weights import LayerWeights


def weights(bias, scale):
    count = len(bias)
    return LayerWeights(
        np.ones((count, 1, 1, 1), np.int8), np.array(scale, np.float32), np.zeros(count, np.int8),
        np.array(bias, np.int32),
    )  # fmt: skip


def test_an_error_where_a_relu_cuts_off_moves_nothing():
    sums = np.array([[-900.0, -800.0, 100.0, 200.0]])
    wanted = np.array([[0, 0, 10.0, 20.0]], np.float32)
    found = moved_bias(weights([0], [0.1]), sums, wanted, np.zeros(1), np.zeros(1), np.full(1, 127.0))
    assert found.bias.tolist() == [0]


def test_a_shift_where_it_passes_is_made_up_for_by_most_of_it():
    sums = np.array([[100.0, 200.0, 300.0, 400.0]])
    wanted = (sums * 0.1 + 3).astype(np.float32)
    found = moved_bias(weights([0], [0.1]), sums, wanted, np.zeros(1), np.full(1, -np.inf), np.full(1, np.inf))
    assert found.bias.tolist() == [28]  # 30 less a sixteenth


def test_outputs_with_all_codes_are_as_much_lower():
    sums = np.array([[100.0, 200.0]]) - 128 / 0.1 * 0.5
    wanted = np.array([[10.0, 20.0]], np.float32)
    found = moved_bias(weights([0], [0.1]), sums, wanted, np.full(1, -64.0), np.zeros(1), np.full(1, 127.0))
    assert found.bias.tolist() == [0]


def test_offsets_are_in_units_of_the_output():
    assert offset_bias(weights([5, 5], [0.5, 0.0]), np.array([-1.0, 3.0])).bias.tolist() == [3, 5]


@pytest.mark.parametrize("groups", [1, 12])
def test_repeated_outputs_make_up_for_each_others_rounding(rng, groups):
    """The mean of n copies is off by about 1/n of what one is."""
    first, length, scale = 12, 9 if groups > 1 else 30, np.full(1, 0.02, np.float32)
    repeated = np.array([3, 3, 5, 0])
    weight = rng.standard_normal((first, length, 1, 1)).astype(np.float32)
    weight = np.concatenate([weight, weight[repeated]])
    groups = 1 if groups == 1 else len(weight)
    codes = rng.integers(-60, 60, (400, length)).astype(np.float64)
    second = (codes.T @ codes).astype(np.float32)

    def rounded(copies):
        moments = Moments(np.stack([second] * groups), np.tile(np.arange(length), (groups, 1)), len(codes))
        found = round_layer(weight, np.zeros(len(weight), np.float32), scale, moments, repeated=copies)
        return found.weight.reshape(len(weight), -1) * found.scale[:, None].astype(np.float64)

    plain, fed = rounded(None), rounded(repeated)
    np.testing.assert_array_equal(plain[:first], fed[:first])
    np.testing.assert_array_equal(plain[first:], plain[repeated])
    wanted = weight.reshape(len(weight), -1) * 0.02
    for output, copies in ((3, [3, 12, 13]), (5, [5, 14]), (0, [0, 15])):
        alone = np.square(codes @ (plain[output] - wanted[output])).sum()
        together = np.square(codes @ (fed[copies].mean(axis=0) - wanted[output])).sum()
        assert together < 0.6 * alone
