"""Upsample against its formulas, pixel by pixel in float32."""

import math

import numpy as np
import pytest

from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer

F = np.float32


def _nearest(x, size):
    _, _, h, w = x.shape
    rows = [int(F(F(y) * (F(h) / F(size[0])))) for y in range(size[0])]
    columns = [int(F(F(i) * (F(w) / F(size[1])))) for i in range(size[1])]
    return x[:, :, rows][:, :, :, columns]


def _position(i, size, out_size, aligned):
    if aligned:
        step = F(size - 1) / F(out_size - 1) if out_size > 1 else F(0)
        return F(step * F(i))
    step = F(size) / F(out_size) if out_size > 1 else F(0)
    return F(float(step) * (i + 0.5) - 0.5)


def _bilinear(x, size, aligned):
    n, c, h, w = x.shape
    out = np.empty((n, c, *size), F)
    for y in range(size[0]):
        at = min(max(_position(y, h, size[0], aligned), F(0)), F(h - 1))
        top = int(at)
        below, ly = min(top + 1, h - 1), F(at - F(top))
        for i in range(size[1]):
            at = min(max(_position(i, w, size[1], aligned), F(0)), F(w - 1))
            left = int(at)
            right, lx = min(left + 1, w - 1), F(at - F(left))
            first = F(1 - lx) * x[:, :, top, left] + lx * x[:, :, top, right]
            second = F(1 - lx) * x[:, :, below, left] + lx * x[:, :, below, right]
            out[:, :, y, i] = F(1 - ly) * first + ly * second
    return out


def _cubic_weights(t):
    a = -0.75
    near = lambda d: ((a + 2) * d - (a + 3)) * d * d + 1  # noqa: E731
    first = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a
    return [first, near(t), near(1 - t), 1 - first - near(t) - near(1 - t)]


def _cubic(x, size, aligned):
    n, c, h, w = x.shape
    out = np.zeros((n, c, *size))
    for y in range(size[0]):
        v = float(_position(y, h, size[0], aligned))
        for i in range(size[1]):
            u = float(_position(i, w, size[1], aligned))
            for k, wy in enumerate(_cubic_weights(v - math.floor(v))):
                for m, wx in enumerate(_cubic_weights(u - math.floor(u))):
                    row = min(max(math.floor(v) - 1 + k, 0), h - 1)
                    column = min(max(math.floor(u) - 1 + m, 0), w - 1)
                    out[:, :, y, i] += wy * wx * x[:, :, row, column]
    return out


SIZES = [
    ((1, 3, 4, 5), (8, 10)),
    ((2, 5, 3, 4), (7, 9)),
    ((1, 3, 4, 4), (6, 10)),
    ((1, 2, 1, 1), (3, 4)),
    ((1, 2, 5, 4), (3, 1)),
    ((2, 3, 6, 1), (2, 6)),
    ((1, 9, 4, 5), (4, 5)),
    ((1, 17, 5, 6), (5, 12)),
    ((1, 1, 7, 3), (2, 9)),
    ((1, 33, 9, 8), (27, 24)),
]


@pytest.mark.parametrize(("dims", "size"), SIZES)
def test_nearest(rng, run_layer, dims, size):
    x = rng.standard_normal(dims).astype(F)
    for value in (x, (x * 100).astype(np.int32), (x * 30).astype(np.int8)):
        (out,) = run_layer("Upsample", f"1 1 1 0 {size[0]} {size[1]}", value)
        np.testing.assert_array_equal(out, _nearest(value, size))


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize(("dims", "size"), SIZES)
def test_bilinear(rng, run_layer, dims, size, aligned):
    x = rng.standard_normal(dims).astype(F)
    (out,) = run_layer("Upsample", f"2 1 1 {aligned} {size[0]} {size[1]}", x)
    wanted = x if size == dims[2:] else _bilinear(x, size, aligned)
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize(("dims", "size"), SIZES)
def test_cubic(rng, run_layer, dims, size, aligned):
    x = rng.standard_normal(dims).astype(F)
    (out,) = run_layer("Upsample", f"3 1 1 {aligned} {size[0]} {size[1]}", x)
    wanted = _cubic(x, size, aligned)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=3e-6 * np.abs(wanted).max())


def test_large_images(rng, run_layer):
    x = rng.standard_normal((1, 20, 30, 40)).astype(F)
    np.testing.assert_array_equal(run_layer("Upsample", "1 2 2 0", x)[0], x.repeat(2, 2).repeat(2, 3))
    np.testing.assert_array_equal(run_layer("Upsample", "2 2 2 0", x)[0], _bilinear(x, (60, 80), False))


@pytest.mark.parametrize(
    ("line", "size"),
    [("1 2 3 0", (6, 12)), ("1 1.5 2.5 0", (5, 10)), ("1 0.5 0.3 0", (2, 1)), ("2 2 2 0 5", (6, 8)),
     ("2 2 2 0 5 7", (5, 7)), ("1 2 2", (6, 8)), ("2 0 0 0 4 4", (4, 4))],
)  # fmt: skip
def test_output_size(line, size):
    (out,) = find_layer("Upsample").parse(line.split()).output_specs([BlobSpec((1, 2, 3, 4))], {})
    assert out.dims == (1, 2, *size)  # 3 * 1.5 = 4.5 and 3 * 0.5 = 1.5 are rounded away from zero


def test_factors_and_sizes_from_constants(rng, run_layer):
    x = rng.standard_normal((1, 2, 3, 4)).astype(F)
    scales, empty = np.array([1, 1, 2, 3], F), np.zeros(0, F)
    (out,) = run_layer("Upsample", "1 0 0 0", x, scales, constant=(1,))
    np.testing.assert_array_equal(out, x.repeat(2, 2).repeat(3, 3))
    (out,) = run_layer("Upsample", "1 0 0 0", x, empty, scales[2:], constant=(1, 2))
    np.testing.assert_array_equal(out, x.repeat(2, 2).repeat(3, 3))
    sizes = np.array([1, 2, 5, 7], np.int32)
    (out,) = run_layer("Upsample", "2 0 0 0", x, empty, empty, sizes, constant=(1, 2, 3))
    np.testing.assert_array_equal(out, _bilinear(x, (5, 7), False))
    specs = [BlobSpec(x.shape), BlobSpec((0,)), BlobSpec((0,)), BlobSpec((4,), value=sizes)]
    resolved = find_layer("Upsample").parse(["2", "0", "0", "0"]).resolved(specs, {})
    assert resolved.dims == (5, 7)


@pytest.mark.parametrize(("line", "aligned"), [("2 2 2 -1", 0), ("2 0.5 2 -1", 1), ("2 2 2 -1 5 7", -1)])
def test_alignment_that_is_not_said(line, aligned):
    resolved = find_layer("Upsample").parse(line.split()).resolved([BlobSpec((1, 2, 3, 4))], {})
    assert resolved.align_corners == aligned


def test_what_does_not_fit(run_layer):
    x = np.zeros((1, 2, 3, 4), F)
    with pytest.raises(UnsupportedLayerError, match="blob of dims 2x3x4: TNN resizes rank 4"):
        run_layer("Upsample", "1 2 2 0", x[0])
    with pytest.raises(UnsupportedLayerError, match="mode is 4"):
        run_layer("Upsample", "4 2 2 0", x)
    with pytest.raises(UnsupportedLayerError, match="mode 2 of INT32"):
        run_layer("Upsample", "2 2 2 0", x.astype(np.int32))
    with pytest.raises(GraphError, match="to height 0, width 8"):
        run_layer("Upsample", "1 0 2 0", x)
    with pytest.raises(GraphError, match="has 1 elements"):
        run_layer("Upsample", "1 0 0 0", x, np.ones(1, F), constant=(1,))
