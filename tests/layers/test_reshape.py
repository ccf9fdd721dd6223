"""Reshape and Flatten against NumPy."""

import numpy as np
import pytest

from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer


@pytest.mark.parametrize(
    ("dims", "line", "wanted"),
    [
        ((2, 3, 4, 5), "0 4 4 0 -1 1 1 0", (2, 60, 1, 1)),
        ((2, 3, 4), "0 2 2 6 4 0", (6, 4)),
        ((2, 3, 4), "0 -1 2 6 4 0", (6, 4)),
        ((2, 3, 4), "1 1 1 -1 0", (2, 12)),
        ((2, 3, 4), "2 2 2 2 2", (2, 3, 2, 2)),
        ((2, 3, 4), "0 3 3 0 0 0 0", (2, 3, 4)),
        ((2, 3, 4), "0 2 4 6 4 9 9 0", (6, 4, 1, 1)),
        ((24,), "0 5 5 1 2 3 2 2 0", (1, 2, 3, 2, 2)),
        ((1, 4, 6, 6), "0 5 5 1 2 2 6 6 0", (1, 2, 2, 6, 6)),
        ((1, 2, 2, 6, 6), "0 4 4 1 4 6 6 0", (1, 4, 6, 6)),
        ((1, 6, 5, 7), "0 3 3 1 6 -1 0", (1, 6, 35)),
        ((1, 6, 5, 7), "0 4 4 1 5 7 6 0", (1, 5, 7, 6)),
        ((1,), "0 0 0 0", ()),
        ((2, 2, 3, 2, 1, 2), "0 2 2 -1 4 0", (12, 4)),
    ],
)
def test_reshape(rng, run_layer, dims, line, wanted):
    x = rng.standard_normal(dims).astype(np.float32)
    for value in (x, (x * 100).astype(np.int32), (x * 30).astype(np.int8)):
        (out,) = run_layer("Reshape", line, value)
        np.testing.assert_array_equal(out, value.reshape(wanted))


def test_the_shape_may_be_a_constant(rng, run_layer):
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    for dtype in (np.int32, np.int64):
        (out,) = run_layer("Reshape", "0 0 0 0", x, np.array([0, -1], dtype), constant=(1,))
        np.testing.assert_array_equal(out, x.reshape(2, 12))
    layer = find_layer("Reshape").parse(["0", "0", "0", "0"])
    shape = BlobSpec((2,), value=np.array([0, -1], np.int32))
    assert layer.resolved([BlobSpec((2, 3, 4)), shape], {}).tokens() == ["0", "2", "2", "0", "-1", "0"]


def test_the_shape_may_be_known_at_run_time_only(rng):
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    layer = find_layer("Reshape").parse(["0", "0", "0", "0"])
    (out,) = layer.forward([x, np.array([4, 6], np.int32)], None)
    np.testing.assert_array_equal(out, x.reshape(4, 6))
    with pytest.raises(GraphError, match="at run time"):
        layer.output_specs([BlobSpec((2, 3, 4)), BlobSpec((2,))], {})


def _tensorflow(x, dims):
    """NCHW to NHWC by the input dims, then NHWC to NCHW by the output dims; missing dims are 1."""
    n, c, h, w = (*x.shape, *(1,) * (4 - x.ndim))
    flat = x.reshape(n, c, h, w).transpose(0, 2, 3, 1).reshape(-1)
    n, c, h, w = (*dims, *(1,) * (4 - len(dims)))
    return flat.reshape(n, h, w, c).transpose(0, 3, 1, 2).reshape(dims)


@pytest.mark.parametrize(
    ("dims", "wanted"),
    [((1, 3, 4, 5), (1, 5, 3, 4)), ((2, 6, 2, 3), (2, 4, 3, 3)), ((2, 3, 4), (4, 6)), ((2, 12), (2, 3, 2, 2))],
)
def test_tensorflow_order(rng, run_layer, dims, wanted):
    x = rng.standard_normal(dims).astype(np.float32)
    line = f"0 {len(wanted)} {len(wanted)} {' '.join(map(str, wanted))} 1"
    np.testing.assert_array_equal(run_layer("Reshape", line, x)[0], _tensorflow(x, wanted))


def test_a_channel_shuffle_stays_channels_last(rng):
    from tnnquant.layers.movement import reshaped

    for channels in (6, 116):  # a small copy by NumPy, a large one by the kernel
        x = rng.standard_normal((1, 28, 28, channels)).astype(np.float32).transpose(0, 3, 1, 2)
        split = x.reshape(1, 2, channels // 2, 28, 28).transpose(0, 2, 1, 3, 4)
        out = reshaped(split, x.shape)
        np.testing.assert_array_equal(out, np.ascontiguousarray(split).reshape(x.shape))
        assert out.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(
    ("dims", "axis", "wanted"),
    [((2, 3, 4, 5), 1, (2, 60)), ((2, 3, 4), 2, (6, 4)), ((2, 3), 0, (1, 6)), ((2, 3, 4), 3, (24, 1)),
     ((5,), 0, (1, 5)), ((2, 3, 4, 2), -1, (24, 2)), ((2, 2, 2, 2, 2, 3), 4, (16, 6))],
)  # fmt: skip
def test_flatten(rng, run_layer, dims, axis, wanted):
    x = rng.standard_normal(dims).astype(np.float32)
    for value in (x, (x * 30).astype(np.int8)):
        np.testing.assert_array_equal(run_layer("Flatten", str(axis), value)[0], value.reshape(wanted))


def test_what_does_not_fit(run_layer):
    x = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(GraphError, match=r"2x3x4 \(24 elements\) to 5x4 \(20\)"):
        run_layer("Reshape", "0 2 2 5 4 0", x)
    with pytest.raises(GraphError, match="does not fit"):
        run_layer("Reshape", "0 2 2 -1 -1 0", x)
    with pytest.raises(GraphError, match="does not fit"):
        run_layer("Reshape", "0 4 4 2 3 4 0 0", x)
    with pytest.raises(GraphError, match="num_axes 3"):
        run_layer("Reshape", "0 3 2 6 4 0", x)
    with pytest.raises(GraphError, match="to 7x3"):
        run_layer("Reshape", "0 2 2 7 -1 0", x)
    with pytest.raises(UnsupportedLayerError, match="at most 4 dims"):
        run_layer("Reshape", "0 5 5 2 3 4 1 1 1", x)
    with pytest.raises(GraphError, match="axis is 4"):
        run_layer("Flatten", "4", x)
