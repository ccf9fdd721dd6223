"""Pad and PadV2 against NumPy."""

import numpy as np
import pytest

from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer

MODES = {0: "constant", 1: "reflect", 2: "edge"}


def _wanted(x, borders, mode, value):
    extra = {"constant_values": value} if mode == 0 else {}
    return np.pad(x, borders, MODES[mode], **extra)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("dims", "sizes"),
    [
        ((1, 3, 5, 6), (1, 1, 1, 1, 0, 0)),
        ((2, 3, 5, 6), (0, 1, 2, 0, 1, 2)),
        ((1, 3, 5, 6), (2, 1, 1, 3, 0, 0)),
        ((1, 3, 5, 6), (4, 4, 5, 5, 2, 2)),
        ((1, 3, 5, 6), (0, 0, 0, 0, 0, 0)),
        ((1, 20, 30, 40), (1, 2, 3, 4, 0, 0)),
    ],
)
def test_pad(rng, run_layer, mode, dims, sizes):
    x = rng.standard_normal(dims).astype(np.float32)
    top, bottom, left, right, c0, c1 = sizes
    (out,) = run_layer("Pad", f"0 0 {top} {bottom} {left} {right} {c0} {c1} {mode} -1.5", x)
    np.testing.assert_array_equal(out, _wanted(x, ((0, 0), (c0, c1), (top, bottom), (left, right)), mode, -1.5))


def test_pad_cuts_by_negative_sizes(rng, run_layer):
    x = rng.standard_normal((1, 3, 5, 6)).astype(np.float32)
    (out,) = run_layer("Pad", "0 0 -1 2 3 -2 0 0 0 7", x)
    np.testing.assert_array_equal(out, np.pad(x[:, :, 1:, :4], ((0, 0), (0, 0), (0, 2), (3, 0)), constant_values=7))


def test_absent_sizes_are_no_border(rng, run_layer):
    x = rng.standard_normal((1, 2, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(run_layer("Pad", "0 0 1 0 2 0", x)[0], np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 0))))
    np.testing.assert_array_equal(run_layer("Pad", "", x)[0], x)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rank", range(1, 7))
def test_padv2(rng, run_layer, mode, rank):
    dims = (3, 4, 5, 3, 4, 3)[:rank]
    begins, ends = [1, 0, 2, 0, 1, 2][:rank], [0, 2, 1, 0, 2, 1][:rank]
    line = f"{rank} {' '.join(map(str, begins + ends))} {mode} 2.5"
    x = rng.standard_normal(dims).astype(np.float32)
    np.testing.assert_array_equal(
        run_layer("PadV2", line, x)[0], _wanted(x, list(zip(begins, ends, strict=True)), mode, 2.5)
    )


@pytest.mark.parametrize(("value", "bits"), [("0", 0), ("7.5", 0x40F00000)])
def test_integers_are_padded_by_the_bits_of_the_float(run_layer, value, bits):
    x = np.arange(6, dtype=np.int32).reshape(2, 3)
    wanted = np.pad(x, ((0, 1), (1, 0)), constant_values=bits)
    np.testing.assert_array_equal(run_layer("PadV2", f"2 0 1 1 0 0 {value}", x)[0], wanted)
    x = x.reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(run_layer("Pad", f"0 0 0 1 1 0 0 0 0 {value}", x)[0], wanted[None, None])


def test_padv2_that_leaves_nothing(rng, run_layer):
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    (out,) = run_layer("PadV2", "3 -1 0 1 -1 0 0 0 5", x)
    assert out.shape == (0, 3, 5)


def test_padv2_with_fewer_sizes_than_dims_pads_the_first_axes(rng, run_layer):
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(run_layer("PadV2", "1 1 2 0 0", x)[0], np.pad(x, ((1, 2), (0, 0), (0, 0))))
    np.testing.assert_array_equal(run_layer("PadV2", "0", x)[0], x)


def test_padv2_takes_its_sizes_from_a_constant(rng, run_layer):
    x = rng.standard_normal((1, 2, 3, 4)).astype(np.float32)
    for dtype in (np.int32, np.int64):
        sizes = np.array([0, 0, 1, 1, 0, 1, 0, 1], dtype)
        (out,) = run_layer("PadV2", "0 0 0.0", x, sizes, constant=(1,))
        np.testing.assert_array_equal(out, np.pad(x, ((0, 0), (0, 1), (1, 0), (1, 1))))
    layer = find_layer("PadV2").parse(["0", "0", "0"])
    (out,) = layer.forward([x, sizes], layer.prepare({}, [BlobSpec(x.shape), BlobSpec((8,))]))
    np.testing.assert_array_equal(out, np.pad(x, ((0, 0), (0, 1), (1, 0), (1, 1))))
    with pytest.raises(GraphError, match="at run time"):
        layer.output_specs([BlobSpec(x.shape), BlobSpec((8,))], {})


def test_the_first_token_of_padv2_counts_axes():
    line = ["2", "1", "2", "3", "4", "1", "0.5"]
    layer = find_layer("PadV2").parse(line)
    assert layer.pads == (1, 2, 3, 4)
    assert (layer.mode, layer.value) == (1, 0.5)
    assert layer.tokens() == line


def test_what_does_not_fit(run_layer):
    x = np.zeros((1, 2, 3, 4), np.float32)
    with pytest.raises(GraphError, match="cannot pad axis 2 of 1x2x3x4 by 3 and 0 with pad type 1"):
        run_layer("Pad", "0 0 3 0 0 0 0 0 1 0", x)
    with pytest.raises(GraphError, match="cannot pad axis 3"):
        run_layer("Pad", "0 0 0 0 -3 -2 0 0 0 0", x)
    with pytest.raises(UnsupportedLayerError, match="pad type is 3"):
        run_layer("Pad", "0 0 1 1 1 1 0 0 3 0", x)
    with pytest.raises(UnsupportedLayerError, match="Pad of a blob of dims 2x3: TNN pads rank 4 only"):
        run_layer("Pad", "0 0 1 1 1 1 0 0 0 0", x[0, :, :, 0])
