"""2-D pooling against explicit loops."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.tensor import QuantParams
from tnnquant.engine.executor import Executor
from tnnquant.errors import GraphError
from tnnquant.graph import Graph, InputSpec, Node
from tnnquant.layers.base import BlobSpec, QuantRole, find_layer
from tnnquant.layers.pooling import pooling_axis


def naive(x, kind, kernel, stride, begin, size):
    """TNN's windows: the end is cut to the image before the beginning is."""
    out = np.zeros((*x.shape[:2], *size))
    for y in range(size[0]):
        for column in range(size[1]):
            h0, w0 = y * stride[0] - begin[0], column * stride[1] - begin[1]
            h1, w1 = min(h0 + kernel[0], x.shape[2]), min(w0 + kernel[1], x.shape[3])
            window = x[:, :, max(h0, 0) : max(h1, 0), max(w0, 0) : max(w1, 0)].astype(np.float64)
            if kind == 0:
                out[..., y, column] = window.max((2, 3)) if window.size else 0
            else:
                with np.errstate(invalid="ignore"):
                    out[..., y, column] = window.sum((2, 3)) / float((h1 - max(h0, 0)) * (w1 - max(w0, 0)))
    return out


# dims, kernel, stride, pad, indices, pad type, ceil mode; kernel, begin pads and output size expected
CASES = {
    "3x3 stride 2 pad 1": ((1, 3, 9, 7), (3, 3), (2, 2), (1, 1), (-1, -1), -1, 0, (3, 3), (1, 1), (5, 4)),
    "2x3 stride 2x1": ((2, 17, 8, 7), (2, 3), (2, 1), (0, 0), (-1, -1), -1, 0, (2, 3), (0, 0), (4, 5)),
    "ceil mode, partial last window": ((1, 33, 6, 6), (3, 3), (2, 2), (0, 0), (-1, -1), -1, 1, (3, 3), (0, 0), (3, 3)),
    "ceil, last window in the padding": ((1, 2, 5, 5), (2, 2), (2, 2), (1, 1), (-1, -1), -1, 1, (2, 2), (1, 1), (4, 4)),
    "global": ((1, 16, 5, 7), (0, 0), (1, 1), (0, 0), (-1, -1), -1, 0, (5, 7), (0, 0), (1, 1)),
    "global along one axis": ((1, 4, 5, 7), (0, 2), (1, 2), (0, 0), (-1, -1), -1, 0, (5, 2), (0, 0), (1, 3)),
    "kernel from the dims": ((1, 4, 6, 5), (1, 1), (1, 1), (0, 0), (3, -1), -1, 0, (5, 5), (0, 0), (2, 1)),
    "same": ((1, 3, 7, 8), (3, 3), (2, 2), (0, 0), (-1, -1), 0, 0, (3, 3), (1, 0), (4, 4)),
    "same, kernel below stride": ((1, 3, 11, 11), (1, 1), (4, 4), (0, 0), (-1, -1), 0, 0, (1, 1), (-1, -1), (3, 3)),
    "valid": ((1, 3, 9, 10), (4, 3), (2, 3), (0, 0), (-1, -1), 1, 0, (4, 3), (0, 0), (3, 3)),
    "pads TNN itself refuses": ((1, 2, 10, 8), (4, 4), (3, 2), (1, 1), (-1, -1), -1, 0, (4, 4), (1, 1), (3, 4)),
    "windows in the padding": ((1, 2, 4, 4), (1, 1), (1, 1), (1, 1), (-1, -1), -1, 0, (1, 1), (1, 1), (6, 6)),
}  # fmt: skip


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_values(rng, run_layer, name, kind):
    dims, kernel, stride, pad, indices, pad_type, ceil_mode, used, begin, size = CASES[name]
    x = rng.standard_normal(dims).astype(np.float32)
    line = " ".join(map(str, (kind, *kernel, *stride, *pad, *indices, pad_type, ceil_mode, 0, 0, 0)))
    (got,) = run_layer("Pooling", line, x)
    np.testing.assert_allclose(got, naive(x, kind, used, stride, begin, size), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 4), (5, 6)])
@pytest.mark.parametrize("kind", [0, 1])
def test_adaptive(rng, run_layer, kind, size):
    x = rng.standard_normal((2, 5, 5, 6)).astype(np.float32)
    (got,) = run_layer("Pooling", f"{kind} 1 1 1 1 0 0 -1 -1 -1 0 1 {size[0]} {size[1]}", x)
    reduce = np.max if kind == 0 else np.mean
    for y in range(size[0]):
        for column in range(size[1]):
            rows = slice(y * 5 // size[0], -(-(y + 1) * 5 // size[0]))
            columns = slice(column * 6 // size[1], -(-(column + 1) * 6 // size[1]))
            wanted = reduce(x[:, :, rows, columns], axis=(2, 3))
            np.testing.assert_allclose(got[..., y, column], wanted, rtol=0, atol=1e-6)


def as_int8(x, kind, kernel, stride, begin, size):
    """TNN's int8 loop: the maximum starts at -127, the average is cut toward zero."""
    out = np.zeros((*x.shape[:2], *size), np.int8)
    for y in range(size[0]):
        for column in range(size[1]):
            h0, w0 = y * stride[0] - begin[0], column * stride[1] - begin[1]
            window = x[:, :, max(h0, 0) : max(h0 + kernel[0], 0), max(w0, 0) : max(w0 + kernel[1], 0)].astype(np.int64)
            if window.size:
                count = window.shape[2] * window.shape[3]
                average = np.trunc(window.sum((2, 3)) / count)
                out[..., y, column] = np.maximum(window.max((2, 3)), -127) if kind == 0 else average
    return out


INT8_CASES = {
    "ordinary": ("3 2 2 1 1 0 -1 -1 -1 0 0 0 0", (3, 2), (2, 1), (1, 0), (3, 5)),
    # TNN knows no adaptive windows of int8: kernel and stride are those of the line.
    "adaptive, as the converter writes it": ("1 1 1 1 0 0 -1 -1 -1 0 1 2 5", (1, 1), (1, 1), (0, 0), (2, 5)),
    "adaptive, with a kernel of its own": ("2 3 2 1 0 1 -1 -1 -1 0 1 2 4", (2, 3), (2, 1), (0, 1), (2, 4)),
    "adaptive, windows beyond the picture": ("2 2 3 3 0 0 -1 -1 -1 0 1 4 4", (2, 2), (3, 3), (0, 0), (4, 4)),
}


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("name", INT8_CASES)
def test_int8_blobs_without_scales(rng, run_layer, name, kind):
    line, *geometry = INT8_CASES[name]
    x = rng.integers(-128, 128, (2, 5, 5, 6), np.int8)
    x[:, 0] = -128
    (got,) = run_layer("Pooling", f"{kind} {line}", x)
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, as_int8(x, kind, *geometry))


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("name", INT8_CASES)
def test_quantized(rng, name, kind):
    line, *geometry = INT8_CASES[name]
    x = rng.standard_normal((1, 5, 5, 6)).astype(np.float32)
    layer = find_layer("QuantizedPooling").parse(f"{kind} {line}".split())
    node = Node("p", "Pooling", layer, ("x",), ("y",), quantized=True)
    scale = QuantParams(np.full(1, 0.02, np.float32), np.zeros(1, np.int8))
    graph = Graph({"x": InputSpec(x.shape)}, ("y",), (node,), {}, {"x": scale, "y": scale})
    got = Executor(graph).run({"x": x})["y"]
    codes = np.clip(np.rint(x.astype(np.float64) / np.float32(0.02)), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(np.rint(got / np.float32(0.02)), as_int8(codes, kind, *geometry))


def test_what_is_saved():
    # Computed pads are, a kernel size taken from the input is not; the second index copies the first.
    layer = find_layer("Pooling").parse("1 0 0 1 1 0 0 -1 -1 -1 0".split())
    resolved = layer.resolved([BlobSpec((1, 8, 14, 14))], {})
    assert " ".join(resolved.tokens()) == "1 0 0 1 1 0 0 -1 -1 -1 0 0 0 0"
    layer = find_layer("Pooling").parse("0 3 3 2 2 0 0 2 -1 0 0".split())
    assert " ".join(layer.tokens()) == "0 3 3 2 2 0 0 2 2 0 0 0 0 0"
    layer = find_layer("Pooling").parse("0 3 3 2 2 0 0 -1 -1 0 0".split())
    assert " ".join(layer.resolved([BlobSpec((1, 8, 7, 8))], {}).tokens()) == "0 3 3 2 2 1 0 -1 -1 0 0 0 0 0"


def test_only_an_ordinary_maximum_can_be_int8():
    def role(line):
        return find_layer("Pooling").parse(line.split()).role

    assert role("0 3 3 2 2 0 0 -1 -1 -1 1 0 0 0") == QuantRole.PASS
    assert role("1 3 3 2 2 0 0 -1 -1 -1 1 0 0 0") == QuantRole.NONE
    assert role("0 1 1 1 1 0 0 -1 -1 -1 0 1 2 2") == QuantRole.NONE


def test_extreme_values(run_layer):
    low, high = np.finfo(np.float32).min, np.finfo(np.float32).max
    x = np.array([[[[low, low], [low, high]]]], np.float32)
    (got,) = run_layer("Pooling", "0 1 2 1 1 0 0 -1 -1 -1 0 0 0 0", x)
    np.testing.assert_array_equal(got.ravel(), [low, high])


def test_errors():
    with pytest.raises(GraphError, match="stride is 0"):
        pooling_axis(4, 2, 0, 0, -1, False)
    with pytest.raises(GraphError, match="pad_type is 5"):
        pooling_axis(4, 2, 1, 0, 5, False)
    with pytest.raises(GraphError, match="a window of 9 does not fit an input of 4"):
        pooling_axis(4, 9, 1, 1, -1, False)
    layer = find_layer("Pooling").parse("0 3 3 2 2 0 0 7 -1 -1 1".split())
    with pytest.raises(GraphError, match="taken from dim 7"):
        layer.resolved([BlobSpec((1, 2, 5, 5))], {})
    with pytest.raises(GraphError, match="rank 3"):
        layer.resolved([BlobSpec((1, 2, 5))], {})
    layer = find_layer("Pooling").parse("0 3 3 2 2 0 0 -1 -1 -1 1 1 0 3".split())
    with pytest.raises(GraphError, match="output size is 0x3"):
        layer.output_specs([BlobSpec((1, 2, 5, 5))], {})
