"""PixelShuffle, ShuffleChannel and Reorg, element by element."""

import numpy as np
import pytest

from tnnquant.errors import GraphError, UnsupportedLayerError


def _depth_to_space(x, s, mode):
    n, channels, h, w = x.shape
    depth = channels // (s * s)
    out = np.empty((n, depth, h * s, w * s), x.dtype)
    for c in range(channels):
        if mode == 0:
            target, place = c % depth, c // depth
        else:
            target, place = c // (s * s), c % (s * s)
        out[:, target, place // s :: s, place % s :: s] = x[:, c]
    return out


def _space_to_depth(x, s, mode):
    n, depth, h, w = x.shape
    out = np.empty((n, depth * s * s, h // s, w // s), x.dtype)
    for c in range(depth * s * s):
        if mode == 0:
            source, place = c % depth, c // depth
        else:
            source, place = c // (s * s), c % (s * s)
        out[:, c] = x[:, source, place // s :: s, place % s :: s]
    return out


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("dims", [(1, 36, 3, 5), (2, 36, 2, 1), (1, 36, 24, 30)])
def test_pixel_shuffle(rng, run_layer, dims, factor):
    x = rng.standard_normal(dims).astype(np.float32)
    np.testing.assert_array_equal(run_layer("PixelShuffle", str(factor), x)[0], _depth_to_space(x, factor, 1))


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_reorg(rng, run_layer, stride, mode):
    x = rng.standard_normal((2, 36, 6, 12)).astype(np.float32)
    for value in (x, (x * 100).astype(np.int32)):
        (out,) = run_layer("Reorg", f"{stride} 1 0 {mode}", value)
        np.testing.assert_array_equal(out, _depth_to_space(value, stride, mode))
        (out,) = run_layer("Reorg", f"{stride} 0 0 {mode}", value)
        np.testing.assert_array_equal(out, _space_to_depth(value, stride, mode))


@pytest.mark.parametrize("group", [1, 2, 3, 6, 12])
@pytest.mark.parametrize("dims", [(1, 12, 3, 5), (2, 12, 4), (2, 12), (1, 12, 2, 3, 2), (1, 12, 60, 50)])
def test_shuffle_channel(rng, run_layer, dims, group):
    x = rng.standard_normal(dims).astype(np.float32)
    wanted = np.empty_like(x)
    columns = 12 // group
    for i in range(group):
        for j in range(columns):
            wanted[:, j * group + i] = x[:, i * columns + j]
    np.testing.assert_array_equal(run_layer("ShuffleChannel", str(group), x)[0], wanted)


def test_what_does_not_fit(run_layer):
    x = np.zeros((1, 6, 3, 4), np.float32)
    with pytest.raises(GraphError, match="channels of 1x6x3x4 are no multiple of 4 groups"):
        run_layer("ShuffleChannel", "4", x)
    with pytest.raises(GraphError, match="upscale_factor"):
        run_layer("PixelShuffle", "2", x)
    with pytest.raises(GraphError, match="channels must be a multiple"):
        run_layer("Reorg", "2 1 0 0", x)
    with pytest.raises(GraphError, match="sizes must be multiples"):
        run_layer("Reorg", "2 0 0 0", x)
    with pytest.raises(UnsupportedLayerError, match="rank 4"):
        run_layer("PixelShuffle", "1", x[0])
