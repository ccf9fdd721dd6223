"""Reformat and Const."""

import numpy as np
import pytest

from tnnquant.errors import UnsupportedLayerError
from tnnquant.layers.base import find_layer


def test_between_equal_types_it_is_the_identity(rng, run_layer):
    x, y = rng.standard_normal((1, 2, 3, 4)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    first, second = run_layer("Reformat", "0 0", x, y, outputs=2)
    np.testing.assert_array_equal(first, x)
    np.testing.assert_array_equal(second, y)


def test_others_belong_to_int8_models(run_layer):
    with pytest.raises(UnsupportedLayerError, match="Reformat from data type 0 to 2"):
        run_layer("Reformat", "0 2", np.zeros(3, np.float32))


def test_const_is_known_but_cannot_be_run():
    kind = find_layer("Const")
    assert not kind.runnable()
    assert "no kernel for Const" in kind.WHY_NOT
    assert kind.parse(["2", "3", "4"]).dims == (3, 4)
