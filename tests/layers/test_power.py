"""Power."""

import numpy as np
import pytest

from tnnquant.errors import UnsupportedLayerError


@pytest.mark.parametrize("exponent", [0, 0.5, 1, 2, 3, -1, -1.5, 0.3])
@pytest.mark.parametrize("shape", [(6,), (2, 9), (1, 5, 3), (1, 3, 2, 5), (2, 3, 2, 2, 2)])
def test_against_double(rng, run_layer, exponent, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    base = x * np.float32(2.5) + np.float32(0.75)
    with np.errstate(all="ignore"):
        want = np.power(base.astype(np.float64), exponent).astype(np.float32)
    np.testing.assert_allclose(run_layer("Power", f"{exponent} 2.5 0.75", x)[0], want, rtol=2e-7)


def test_defaults_change_nothing(rng, run_layer):
    x = rng.standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_array_equal(run_layer("Power", "", x)[0], x)


def test_integers_are_refused(run_layer):
    with pytest.raises(UnsupportedLayerError, match="put a Cast before it"):
        run_layer("Power", "2", np.zeros((2, 3), np.int32))
