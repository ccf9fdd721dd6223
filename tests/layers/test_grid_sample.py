"""GridSample against the definition, one sample at a time."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer


def naive(x, grid):
    """Bilinear, zeros outside, corners not aligned."""
    _, _, height, width = x.shape
    out = np.zeros((*x.shape[:2], *grid.shape[1:3]))
    for n, y, column in np.ndindex(*grid.shape[:3]):
        px = (grid[n, y, column, 0] + 1) * width * 0.5 - 0.5
        py = (grid[n, y, column, 1] + 1) * height * 0.5 - 0.5
        for iy in range(height):
            for ix in range(width):
                weight = max(0, 1 - abs(px - ix)) * max(0, 1 - abs(py - iy))
                out[n, :, y, column] += weight * x[n, :, iy, ix]
    return out


@pytest.mark.parametrize("dims", [(1, 3, 5, 7), (2, 17, 4, 4), (1, 1, 1, 1)])
def test_values(rng, run_layer, dims):
    x = rng.standard_normal(dims).astype(np.float32)
    grid = (rng.standard_normal((dims[0], 3, 6, 2))).astype(np.float32)
    (got,) = run_layer("GridSample", "2 0 0", x, grid)
    np.testing.assert_allclose(got, naive(x, grid), rtol=0, atol=1e-5 * np.abs(x).max())


def test_an_identity_grid_copies(rng, run_layer):
    x = rng.standard_normal((1, 2, 4, 5)).astype(np.float32)
    for line, at in (("2 0 0", lambda n: (2 * np.arange(n) + 1) / n - 1), ("2 0 1", lambda n: np.linspace(-1, 1, n))):
        grid = np.stack(np.meshgrid(at(5), at(4)), -1)[None].astype(np.float32)
        (got,) = run_layer("GridSample", line, x, grid)
        np.testing.assert_allclose(got, x, rtol=0, atol=1e-5)


def test_pads_and_modes(run_layer):
    x = np.array([[[[1, 2, 3]]]], np.float32)
    # One pixel left of the image, and one beyond the pixel 0.4 right of its right edge.
    points = np.array([-5 / 3, 1.6], np.float32)
    grid = np.stack([points, np.zeros_like(points)], -1).reshape(1, 1, 2, 2)
    wanted = {"1 0 0": [0, 0], "1 2 0": [1, 3], "2 1 0": [1.5, 2.6], "2 2 0": [1, 3]}
    for line, values in wanted.items():
        (got,) = run_layer("GridSample", line, x, grid)
        np.testing.assert_allclose(got.ravel(), values, atol=1e-5, err_msg=line)


def test_errors():
    def specs(line, *dims):
        return find_layer("GridSample").parse(line.split()).output_specs([BlobSpec(d) for d in dims], {})

    assert specs("", (2, 3, 4, 5), (2, 6, 7, 2))[0].dims == (2, 3, 6, 7)
    with pytest.raises(UnsupportedLayerError, match="mode is 3"):
        specs("3 0 0", (2, 3, 4, 5), (2, 6, 7, 2))
    with pytest.raises(UnsupportedLayerError, match="rank 4"):
        specs("2 0 0", (2, 3, 4, 5, 6), (2, 6, 7, 2, 3))
    with pytest.raises(GraphError, match="expected \\(2, OH, OW, 2\\)"):
        specs("2 0 0", (2, 3, 4, 5), (1, 6, 7, 2))
