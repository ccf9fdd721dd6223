"""Trigonometric functions against double."""

import numpy as np
import pytest

FUNCTIONS = {
    "Cos": np.cos,
    "Acos": np.arccos,
    "Sin": np.sin,
    "Asin": np.arcsin,
    "Tan": np.tan,
    "Atan": np.arctan,
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_against_double(rng, run_layer, kind):
    wide = np.array([0, -0.0, 1, -1, 1e-20, 1e30, 3e38, np.inf, np.nan, 1.0000001, 630.65625], np.float32)
    for x in (wide, rng.uniform(-1, 1, (2, 3, 5, 7)).astype(np.float32), rng.normal(0, 500, (7, 3)).astype(np.float32)):
        with np.errstate(all="ignore"):
            want = FUNCTIONS[kind](x.astype(np.float64)).astype(np.float32)
        np.testing.assert_allclose(run_layer(kind, "", x)[0], want, rtol=1e-7)
