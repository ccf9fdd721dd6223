"""int8 to int8 by table."""

import numpy as np
import pytest

from tnnquant.kernels.lookup_i8 import lookup_i8, lookup_i8_naive


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 7, 33), (1, 70, 90, 16), (1, 0, 3, 4), (3, 1, 1, 1000)])
@pytest.mark.parametrize("rows", ["one", "each"])
@pytest.mark.parametrize("slices", [False, True])
def test_the_naive_loop_agrees(rng, shape, rows, slices):
    channels = shape[3]
    wide = rng.integers(-128, 128, (*shape[:3], channels + 5), np.int8)
    x = wide[..., 2 : 2 + channels] if slices else np.ascontiguousarray(wide[..., :channels])
    table = rng.integers(-128, 128, (1 if rows == "one" else channels, 256), np.int8)
    target = np.full((*shape[:3], channels + 3), 77, np.int8)
    out = target[..., 1 : 1 + channels] if slices else np.empty(shape, np.int8)
    expected = np.empty((x.size // channels, channels), np.int8)
    lookup_i8_naive(np.ascontiguousarray(x).reshape(-1, channels), table.repeat(channels // len(table), 0), expected)
    assert lookup_i8(x, table, out) is out
    np.testing.assert_array_equal(out.reshape(-1, channels), expected)
    assert (target[..., 0] == 77).all()
    assert (target[..., -2:] == 77).all()


def test_every_value_finds_its_result():
    x = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)
    table = np.roll(np.arange(-128, 128), 128).astype(np.int8)[None]
    np.testing.assert_array_equal(lookup_i8(x, table, np.empty_like(x)), x)
