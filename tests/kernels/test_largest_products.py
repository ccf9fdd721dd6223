"""The largest products of rows."""

import numpy as np
import pytest

from tnnquant.kernels.largest_products import largest_products, largest_products_naive


@pytest.mark.parametrize(("rows", "columns", "trials"), [(1, 1, 1), (17, 5, 72), (8, 33, 9)])
def test_products_are_those_of_the_twin(rng, rows, columns, trials):
    magnitudes = np.abs(rng.standard_normal((rows, columns))).astype(np.float32)
    factors = np.abs(rng.standard_normal((columns, trials))).astype(np.float32)
    wanted = np.empty((rows, trials), np.float32)
    largest_products_naive(magnitudes, factors, wanted)
    np.testing.assert_array_equal(largest_products(magnitudes, factors), wanted)
    np.testing.assert_array_equal(wanted, (magnitudes[:, :, None] * factors).max(axis=1))
