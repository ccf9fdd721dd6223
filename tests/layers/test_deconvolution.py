"""2-D deconvolution against explicit loops."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer
from tnnquant.layers.convolution import Axis
from tnnquant.layers.deconvolution import taps_of_tnn


def naive(x, weight, bias, *, stride, begin, dilation, size, activation):
    """Every input is spread over the output; weight (groups, C/G, OC/G, KH, KW)."""
    groups, per_group, count, *kernel = weight.shape
    out = np.zeros((x.shape[0], groups * count, *size))
    out += 0 if bias is None else bias[:, None, None]
    for g in range(groups):
        values = x[:, g * per_group : (g + 1) * per_group].astype(np.float64)
        for iy, ix, kh, kw in np.ndindex(*x.shape[2:], *kernel):
            y = iy * stride[0] - begin[0] + kh * dilation[0]
            column = ix * stride[1] - begin[1] + kw * dilation[1]
            if 0 <= y < size[0] and 0 <= column < size[1]:
                out[:, g * count : (g + 1) * count, y, column] += values[..., iy, ix] @ weight[g, :, :, kh, kw]
    if activation == 256:
        return out / (1 + np.exp(-out))
    out = np.maximum(out, 0) if activation in (1, 2) else out
    return np.minimum(out, 6) if activation == 2 else out


# dims, out channels, groups, kernel, stride, pad, pad type, dilation, activation; begin and size expected
CASES = {
    "3x3": ((1, 3, 4, 5), 4, 1, (3, 3), (1, 1), (0, 0), -1, (1, 1), 0, (0, 0), (6, 7)),
    "2x2 stride 2": ((2, 17, 3, 4), 16, 1, (2, 2), (2, 2), (0, 0), -1, (1, 1), 1, (0, 0), (6, 8)),
    "4x4 stride 2 pad 1, swish": ((1, 5, 4, 3), 33, 1, (4, 4), (2, 2), (1, 1), -1, (1, 1), 256, (1, 1), (8, 6)),
    "same": ((1, 2, 5, 4), 3, 1, (3, 3), (2, 2), (0, 0), 0, (1, 1), 2, (0, 0), (10, 8)),
    "same, kernel below stride": ((1, 2, 4, 3), 3, 1, (1, 2), (4, 3), (0, 0), 0, (1, 1), 0, (-1, 0), (16, 9)),
    "valid": ((1, 2, 5, 4), 3, 1, (3, 3), (2, 2), (0, 0), 1, (1, 1), 0, (0, 0), (11, 9)),
    "full": ((1, 2, 6, 7), 3, 1, (3, 4), (2, 1), (0, 0), 2, (1, 1), 0, (2, 3), (9, 4)),
    "same, transposed": ((1, 2, 5, 4), 3, 1, (4, 3), (2, 2), (0, 0), 3, (1, 1), 0, (1, 1), (10, 8)),
    "two groups": ((1, 4, 3, 5), 6, 2, (3, 3), (2, 2), (0, 0), -1, (1, 1), 0, (0, 0), (7, 11)),
    "depthwise": ((1, 19, 4, 4), 19, 19, (4, 4), (2, 2), (1, 1), -1, (1, 1), 0, (1, 1), (8, 8)),
    "dilation 2x3": ((1, 3, 5, 4), 2, 1, (3, 2), (1, 1), (0, 1), -1, (2, 3), 0, (0, 1), (9, 5)),
    "a phase of one row cut away": ((2, 4, 2, 5), 3, 1, (1, 1), (2, 2), (1, 1), -1, (1, 1), 0, (1, 1), (1, 7)),
    "holes": ((1, 3, 3, 3), 2, 1, (1, 1), (2, 2), (0, 0), -1, (1, 1), 2, (0, 0), (5, 5)),
}  # fmt: skip


def line_of(channels, out_channels, groups, kernel, stride, pad, bias, pad_type, dilation, activation):
    numbers = (groups, channels, out_channels, *kernel, *stride, *pad, bias, pad_type, *dilation, activation)
    return " ".join(map(str, numbers))


@pytest.mark.parametrize("bias", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_values(rng, run_layer, name, bias):
    dims, out_channels, groups, kernel, stride, pad, pad_type, dilation, activation, begin, size = CASES[name]
    x = rng.standard_normal(dims).astype(np.float32)
    weight = rng.standard_normal((groups, dims[1] // groups, out_channels // groups, *kernel)).astype(np.float32)
    offset = (rng.standard_normal(out_channels) * 2).astype(np.float32)
    line = line_of(dims[1], out_channels, groups, kernel, stride, pad, bias, pad_type, dilation, activation)
    (got,) = run_layer("Deconvolution", line, x, tensors={"filter": weight, "bias": offset})
    wanted = naive(
        x, weight, offset if bias else None, stride=stride, begin=begin, dilation=dilation, size=size,
        activation=activation,
    )  # fmt: skip
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)])
@pytest.mark.parametrize("begin", [-1, 0, 1, 2])
def test_tnns_search_is_the_definition_unless_both_exceed_1(stride, dilation, begin):
    size, kernel, out = 5, 3, 12
    table = taps_of_tnn(size, kernel, stride, dilation, Axis(out, begin))
    for y, tap, source in np.ndindex(out, kernel, size):
        assert table[y, tap, source] == (y + begin == source * stride + tap * dilation)


@pytest.mark.parametrize("activation", [0, 1, 2, 256])
def test_stride_and_dilation_take_other_taps(rng, run_layer, activation):
    # Stride 3 and dilation 2 on the width: TNN's search does not find the taps of the definition.
    x = rng.standard_normal((1, 3, 4, 4)).astype(np.float32)
    weight = rng.standard_normal((1, 3, 2, 2, 3)).astype(np.float32)
    bias = rng.standard_normal(2).astype(np.float32)
    line = line_of(3, 2, 1, (2, 3), (2, 3), (0, 0), 1, -1, (1, 2), activation)
    (got,) = run_layer("Deconvolution", line, x, tensors={"filter": weight, "bias": bias})
    table = taps_of_tnn(4, 3, 3, 2, Axis(14, 0))
    full = np.zeros((1, 2, 8, 14)) + bias[:, None, None]
    for iy, ix, kh, kw, column in np.ndindex(4, 4, 2, 3, 14):
        if table[column, kw, ix]:
            full[:, :, iy * 2 + kh, column] += x[:, :, iy, ix].astype(np.float64) @ weight[0, :, :, kh, kw]
    wanted = full / (1 + np.exp(-full)) if activation == 256 else np.maximum(full, 0) if activation else full
    wanted = np.minimum(wanted, 6) if activation == 2 else wanted
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    definition = {(ix * 3 + kw * 2, kw, ix) for ix in range(4) for kw in range(3)}
    found = {tuple(entry) for entry in np.argwhere(table).tolist()}
    assert (3, 0, 1) in definition - found
    assert (3, 1, 0) in found - definition


def test_strides_of_any_size(rng, run_layer):
    """A plan of a convolution a remainder would take millions of them."""
    x = rng.standard_normal((1, 2, 2, 3)).astype(np.float32)
    weight = rng.standard_normal((1, 2, 3, 1, 2)).astype(np.float32)
    tensors = {"filter": weight, "bias": np.arange(3, dtype=np.float32)}
    line = line_of(2, 3, 1, (1, 2), (1, 20000), (0, 0), 1, -1, (1, 1), 0)
    (out,) = run_layer("Deconvolution", line, x, tensors=tensors)
    assert out.shape == (1, 3, 2, 40002)
    wanted = naive(
        x, weight, tensors["bias"], stride=(1, 20000), begin=(0, 0), dilation=(1, 1), size=out.shape[2:], activation=0
    )
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-6)


def test_what_is_saved():
    layer = find_layer("Deconvolution").parse("1 2 3 4 3 2 2 0 0 0 3".split())
    assert " ".join(layer.resolved([BlobSpec((1, 2, 5, 4))], {}).tokens()) == "1 2 3 4 3 2 2 1 1 0 3 1 1 0"


def test_errors():
    def specs(line, dims=(1, 2, 3, 3)):
        return find_layer("Deconvolution").parse(line.split()).output_specs([BlobSpec(dims)], {})

    with pytest.raises(GraphError, match="pad_type is 4"):
        specs("1 2 3 3 3 1 1 0 0 0 4")
    with pytest.raises(GraphError, match="the output is empty"):
        specs("1 2 3 3 3 1 1 5 5 0 -1")
    with pytest.raises(GraphError, match="2 groups do not divide 2 input and 3 output"):
        specs("2 2 3 3 3 1 1 0 0 0 -1")
    with pytest.raises(GraphError, match="stride is 0"):
        specs("1 2 3 3 3 0 1 0 0 0 -1")
    with pytest.raises(GraphError, match="rank 3"):
        specs("1 2 3 3 3 1 1 0 0 0 -1", (2, 3, 3))
    layer = find_layer("Deconvolution").parse("1 2 3 3 3 1 1 0 0 0 -1".split())
    with pytest.raises(GraphError, match="no filter"):
        layer.prepare({}, [BlobSpec((1, 2, 3, 3))])
