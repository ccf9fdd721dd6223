"""2-D convolution against explicit loops."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, find_layer


def naive(x, weight, bias, *, stride, begin, dilation, groups, size, activation):
    """The definition: stride, begin, dilation and size are pairs (h, w)."""
    count, per_group = weight.shape[0] // groups, weight.shape[1]
    out = np.zeros((x.shape[0], weight.shape[0], *size))
    for o in range(weight.shape[0]):
        first = o // count * per_group
        for y in range(size[0]):
            for column in range(size[1]):
                for kh in range(weight.shape[2]):
                    for kw in range(weight.shape[3]):
                        iy = y * stride[0] - begin[0] + kh * dilation[0]
                        ix = column * stride[1] - begin[1] + kw * dilation[1]
                        if 0 <= iy < x.shape[2] and 0 <= ix < x.shape[3]:
                            taps = x[:, first : first + per_group, iy, ix].astype(np.float64)
                            out[:, o, y, column] += taps @ weight[o, :, kh, kw]
    out += 0 if bias is None else bias[:, None, None]
    if activation == 256:
        return out / (1 + np.exp(-out))
    if activation in (1, 2):
        out = np.maximum(out, 0)
    return np.minimum(out, 6) if activation == 2 else out


# dims, out channels, groups, kernel, stride, pad, pad type, dilation, activation; begin pads and output size expected
CASES = {
    "3x3 pad 1": ((1, 3, 7, 6), 5, 1, (3, 3), (1, 1), (1, 1), -1, (1, 1), 0, (1, 1), (7, 6)),
    "1x1, relu": ((2, 17, 4, 5), 16, 1, (1, 1), (1, 1), (0, 0), -1, (1, 1), 1, (0, 0), (4, 5)),
    "5x2 stride 2x3, relu6": ((1, 4, 9, 11), 33, 1, (5, 2), (2, 3), (2, 1), -1, (1, 1), 2, (2, 1), (5, 4)),
    "same stride 2, swish": ((1, 3, 8, 9), 4, 1, (3, 3), (2, 2), (0, 0), 0, (1, 1), 256, (0, 1), (4, 5)),
    "same, kernel smaller than stride": ((1, 2, 11, 7), 3, 1, (1, 2), (4, 3), (0, 0), 0, (1, 1), 0, (-1, 0), (3, 3)),
    "valid begins inside": ((1, 2, 11, 10), 3, 1, (1, 1), (4, 4), (0, 0), 1, (1, 1), 0, (-1, 0), (3, 3)),
    "two groups": ((1, 6, 5, 5), 8, 2, (3, 3), (1, 1), (1, 1), -1, (1, 1), 0, (1, 1), (5, 5)),
    "depthwise, same, dilation 2": ((2, 19, 8, 7), 19, 19, (3, 3), (1, 1), (0, 0), 0, (2, 2), 2, (2, 2), (8, 7)),
    "depthwise, two outputs each": ((1, 5, 6, 6), 10, 5, (3, 3), (2, 2), (1, 1), -1, (1, 1), 1, (1, 1), (3, 3)),
    "dilation_h serves both axes": ((1, 2, 9, 12), 3, 1, (3, 3), (1, 1), (1, 2), -1, (2, 1), 0, (1, 2), (7, 14)),
    "unknown activation": ((1, 2, 3, 3), 2, 1, (1, 1), (1, 1), (0, 0), -1, (1, 1), 7, (0, 0), (3, 3)),
    "a window larger than the input": ((1, 2, 4, 3), 2, 1, (5, 4), (2, 2), (0, 0), -1, (1, 1), 0, (0, 0), (1, 1)),
    "negative pad": ((1, 2, 9, 9), 3, 1, (3, 3), (1, 1), (-1, -2), -1, (1, 1), 0, (-1, -2), (5, 3)),
}  # fmt: skip


def line_of(channels, out_channels, groups, kernel, stride, pad, bias, pad_type, dilation, activation):
    numbers = (groups, channels // groups, out_channels, *kernel, *stride, *pad, bias, pad_type, *dilation, activation)
    return " ".join(map(str, numbers))


@pytest.mark.parametrize("bias", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_values(rng, run_layer, name, bias):
    dims, out_channels, groups, kernel, stride, pad, pad_type, dilation, activation, begin, size = CASES[name]
    x = rng.standard_normal(dims).astype(np.float32)
    weight = rng.standard_normal((out_channels, dims[1] // groups, *kernel)).astype(np.float32)
    offset = (rng.standard_normal(out_channels) * 2).astype(np.float32)
    line = line_of(dims[1], out_channels, groups, kernel, stride, pad, bias, pad_type, dilation, activation)
    (got,) = run_layer("Convolution", line, x, tensors={"filter": weight, "bias": offset})
    wanted = naive(
        x, weight, offset if bias else None, stride=stride, begin=begin, dilation=(dilation[0],) * 2, groups=groups,
        size=size, activation=activation,
    )  # fmt: skip
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_computed_pads_are_saved():
    layer = find_layer("Convolution").parse("1 3 4 3 3 2 2 0 0 0 0 1 1 0".split())
    resolved = layer.resolved([BlobSpec((1, 3, 112, 113))], {})
    assert " ".join(resolved.tokens()) == "1 3 4 3 3 2 2 0 1 0 0 1 1 0"


def test_a_short_line_has_the_readers_defaults():
    layer = find_layer("Convolution").parse("1 3 4 3 3 2 2 1 1 1".split())
    assert " ".join(layer.tokens()) == "1 3 4 3 3 2 2 1 1 1 0 1 1 0"


def test_half_precision_weights(rng, run_layer):
    x = rng.standard_normal((1, 3, 5, 5)).astype(np.float32)
    weight = rng.standard_normal((4, 3, 3, 3)).astype(np.float16)
    line = line_of(3, 4, 1, (3, 3), (1, 1), (1, 1), 0, -1, (1, 1), 0)
    (got,) = run_layer("Convolution", line, x, tensors={"filter": weight})
    (wanted,) = run_layer("Convolution", line, x, tensors={"filter": weight.astype(np.float32)})
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("scales", [1, 4])
def test_dynamic_range_weights(rng, run_layer, scales):
    x = rng.standard_normal((1, 3, 5, 5)).astype(np.float32)
    weight = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    scale = rng.uniform(0.01, 0.1, scales).astype(np.float32)
    line = line_of(3, 4, 1, (3, 3), (1, 1), (1, 1), 0, -1, (1, 1), 0)
    (got,) = run_layer("DynamicRangeQuantizedConvolution", line, x, tensors={"filter": weight, "scale": scale})
    wide = weight.astype(np.float32) * scale[:, None, None, None]
    (wanted,) = run_layer("Convolution", line, x, tensors={"filter": wide})
    np.testing.assert_array_equal(got, wanted)


def prepared(line, dims, **tensors):
    layer, specs = find_layer("Convolution").parse(line.split()), [BlobSpec(dims)]
    tensors = {name: Tensor.from_array(value) for name, value in tensors.items()}
    layer = layer.resolved(specs, tensors)
    layer.output_specs(specs, tensors)
    return layer.prepare(tensors, specs)


def test_errors():
    good = "1 3 64 3 3 2 2 0 0 1 -1 1 1 0"
    bias = np.zeros(64, np.float32)
    with pytest.raises(GraphError, match=r"filter has 432 values, expected OC\*C/G\*KH\*KW = 64\*3\*3\*3 = 1728"):
        prepared(good, (1, 3, 9, 9), filter=np.zeros(432, np.float32), bias=bias)
    with pytest.raises(GraphError, match="bias has 3 values, expected OC = 64"):
        prepared(good, (1, 3, 9, 9), filter=np.zeros(1728, np.float32), bias=np.zeros(3, np.float32))
    with pytest.raises(GraphError, match="no filter"):
        prepared(good, (1, 3, 9, 9))
    with pytest.raises(GraphError, match="0 groups do not divide 3 input"):
        prepared("0 3 64 3 3 2 2 0 0 1 -1 1 1 0", (1, 3, 9, 9))
    with pytest.raises(GraphError, match="stride is 0"):
        prepared("1 3 64 3 3 0 2 0 0 1 -1 1 1 0", (1, 3, 9, 9))
    with pytest.raises(GraphError, match="rank 3"):
        prepared(good, (3, 9, 9))
    with pytest.raises(GraphError, match="does not fit an input of 9"):
        prepared("1 3 64 13 3 1 1 0 0 1 -1 1 1 0", (1, 3, 9, 9))
    with pytest.raises(GraphError, match="pad_type is 2"):
        prepared("1 3 64 3 3 1 1 0 0 1 2 1 1 0", (1, 3, 9, 9))


def test_macs_and_int8():
    layer = find_layer("Convolution").parse("2 2 6 3 3 1 1 1 1 0 -1 1 1 0".split())
    specs = [BlobSpec((1, 4, 5, 5))]
    assert layer.macs(specs, layer.output_specs(specs, {})) == 6 * 25 * 2 * 9
    filter_ = {"filter": Tensor(np.zeros(108, np.float32))}
    assert layer.why_not_int8(specs, filter_) is None
    swish = find_layer("Convolution").parse("2 2 6 3 3 1 1 1 1 0 -1 1 1 256".split())
    assert "activation 256" in swish.why_not_int8(specs, filter_)


def test_int32_input_is_refused():
    layer = find_layer("Convolution").parse("1 3 4 1 1 1 1 0 0 0 -1 1 1 0".split())
    with pytest.raises(UnsupportedLayerError, match="INT32"):
        layer.output_specs([BlobSpec((1, 3, 4, 4), DataType.INT32)], {})
