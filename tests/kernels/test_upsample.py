"""The bilinear kernel against its naive twin: the same bits."""

import numpy as np
import pytest

from tnnquant.kernels.upsample import bilinear_f32, bilinear_f32_naive


def _table(rng, size, out_size):
    first = rng.integers(0, size, out_size)
    weight = rng.random(out_size, dtype=np.float32)
    return np.stack([first, np.minimum(first + 1, size - 1)], axis=1), np.stack([1 - weight, weight], axis=1)


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 9, 16, 33])
@pytest.mark.parametrize("wider", [0, 3])
def test_equals_the_naive_kernel(rng, channels, wider):
    x = rng.standard_normal((2, 5, 4, channels + wider)).astype(np.float32)[..., wider:]
    wide = np.full((2, 9, 7, channels + wider), 7, np.float32)
    out, naive = wide[..., wider:], np.empty((2, 9, 7, channels), np.float32)
    tables = (*_table(rng, 5, 9), *_table(rng, 4, 7))
    bilinear_f32(x, *tables, out)
    bilinear_f32_naive(np.ascontiguousarray(x), *tables, naive)
    np.testing.assert_array_equal(out, naive)
    assert (wide[..., :wider] == 7).all()
