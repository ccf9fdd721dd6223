"""1-D and 3-D convolution against explicit loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


def naive(x, weight, bias, *, stride, begin, dilation, groups, size, activation):
    """The definition, for any number of axes."""
    count, per_group = weight.shape[0] // groups, weight.shape[1]
    out = np.zeros((*x.shape[:1], weight.shape[0], *size))
    for o, at, tap in product(range(weight.shape[0]), np.ndindex(*size), np.ndindex(*weight.shape[2:])):
        position = [a * s - b + t * d for a, s, b, t, d in zip(at, stride, begin, tap, dilation, strict=True)]
        if all(0 <= p < n for p, n in zip(position, x.shape[2:], strict=True)):
            first = o // count * per_group
            values = x[(slice(None), slice(first, first + per_group), *position)].astype(np.float64)
            out[(slice(None), o, *at)] += values @ weight[(o, slice(None), *tap)]
    out += 0 if bias is None else bias.reshape(-1, *[1] * len(size))
    if activation == 256:
        return out / (1 + np.exp(-out))
    out = np.maximum(out, 0) if activation in (1, 2) else out
    return np.minimum(out, 6) if activation == 2 else out


# dims, out channels, groups, kernel, stride, (pad end, pad begin), pad type, dilation, activation; begin, size
CASES_1D = {
    "3 pad 1": ((1, 3, 11), 5, 1, 3, 1, (1, 1), -1, 1, 0, 1, 11),
    "end before begin": ((2, 4, 13), 6, 2, 4, 2, (1, 3), -1, 1, 1, 3, 7),
    "same, stride 2": ((1, 3, 12), 17, 1, 4, 2, (0, 0), 0, 1, 2, 1, 6),
    "same leaves the dilation out": ((1, 3, 12), 4, 1, 3, 1, (0, 0), 0, 2, 0, 1, 12),
    "valid, swish": ((1, 3, 12), 4, 1, 2, 3, (0, 0), 1, 1, 256, 0, 4),
    "valid, begins inside": ((1, 2, 11), 3, 1, 1, 4, (0, 0), 1, 1, 0, -1, 3),
    "depthwise, dilation 3": ((1, 19, 20), 19, 19, 3, 1, (2, 2), -1, 3, 0, 2, 18),
}  # fmt: skip


@pytest.mark.parametrize("bias", [0, 1])
@pytest.mark.parametrize("name", CASES_1D)
def test_1d(rng, run_layer, name, bias):
    dims, out_channels, groups, kernel, stride, pads, pad_type, dilation, activation, begin, size = CASES_1D[name]
    x = rng.standard_normal(dims).astype(np.float32)
    weight = rng.standard_normal((out_channels, dims[1] // groups, kernel)).astype(np.float32)
    offset = rng.standard_normal(out_channels).astype(np.float32)
    numbers = (groups, dims[1], out_channels, kernel, stride, *pads, bias, pad_type, dilation, activation)
    (got,) = run_layer("Convolution1D", " ".join(map(str, numbers)), x, tensors={"filter": weight, "bias": offset})
    wanted = naive(
        x, weight, offset if bias else None, stride=(stride,), begin=(begin,), dilation=(dilation,), groups=groups,
        size=(size,), activation=activation,
    )  # fmt: skip
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


# dims, out channels, groups, kernel, stride, pad, pad type, dilation, activation; begin, size
CASES_3D = {
    "3x3x3 pad 1": ((1, 3, 4, 5, 6), 4, 1, (3, 3, 3), (1, 1, 1), (1, 1, 1), -1, (1, 1, 1), 1, (1, 1, 1), (4, 5, 6)),
    "1x1x1": ((2, 2, 3, 4, 5), 5, 1, (1, 1, 1), (1, 1, 1), (0, 0, 0), -1, (1, 1, 1), 0, (0, 0, 0), (3, 4, 5)),
    "mixed": ((1, 4, 5, 7, 6), 6, 2, (3, 2, 1), (2, 1, 2), (1, 0, 0), -1, (1, 1, 1), 2, (1, 0, 0), (3, 6, 3)),
    "depthwise": ((1, 17, 4, 4, 5), 17, 17, (2, 3, 3), (1, 1, 1), (0, 1, 1), -1, (1, 1, 1), 0, (0, 1, 1), (3, 4, 5)),
    "depthwise 1x3x3": ((1, 5, 3, 4, 4), 5, 5, (1, 3, 3), (1, 1, 1), (0, 1, 1), -1, (1, 1, 1), 0, (0, 1, 1), (3, 4, 4)),
    "dilations": ((1, 2, 6, 7, 8), 3, 1, (2, 3, 2), (1, 1, 2), (0, 1, 0), -1, (1, 2, 3), 256, (0, 1, 0), (5, 5, 3)),
    "same": ((1, 2, 5, 6, 7), 3, 1, (3, 2, 3), (2, 2, 2), (0, 0, 0), 0, (1, 1, 1), 0, (1, 0, 1), (3, 3, 4)),
    "front clamped": ((1, 2, 11, 11, 5), 3, 1, (1, 1, 2), (4, 4, 1), (0, 0, 0), 1, (1, 1, 1), 0, (0, -1, 0), (3, 3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("bias", [0, 1])
@pytest.mark.parametrize("name", CASES_3D)
def test_3d(rng, run_layer, name, bias):
    dims, out_channels, groups, kernel, stride, pad, pad_type, dilation, activation, begin, size = CASES_3D[name]
    x = rng.standard_normal(dims).astype(np.float32)
    weight = rng.standard_normal((out_channels, dims[1] // groups, *kernel)).astype(np.float32)
    offset = rng.standard_normal(out_channels).astype(np.float32)
    numbers = (groups, dims[1], out_channels, *kernel, *stride, *pad, bias, pad_type, *dilation, activation)
    (got,) = run_layer("Convolution3D", " ".join(map(str, numbers)), x, tensors={"filter": weight, "bias": offset})
    wanted = naive(
        x, weight, offset if bias else None, stride=stride, begin=begin, dilation=dilation, groups=groups, size=size,
        activation=activation,
    )  # fmt: skip
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_3d_in_pieces_gives_the_same(rng, run_layer, monkeypatch):
    from tnnquant.layers import convolution_nd

    x = rng.standard_normal((2, 3, 6, 4, 4)).astype(np.float32)
    weight = rng.standard_normal((4, 3, 3, 3, 3)).astype(np.float32)
    line = "1 3 4 3 3 3 1 1 1 1 1 1 0 -1 1 1 1 0"
    (whole,) = run_layer("Convolution3D", line, x, tensors={"filter": weight})
    monkeypatch.setattr(convolution_nd, "_GATHER_BYTES", 5 * 4 * 4 * 3 * 3 * 4)
    (pieces,) = run_layer("Convolution3D", line, x, tensors={"filter": weight})
    np.testing.assert_array_equal(whole, pieces)


def test_what_is_saved():
    layer = find_layer("Convolution1D").parse("1 3 4 4 2 0 0 0 0".split())
    assert " ".join(layer.tokens()) == "1 3 4 4 2 0 0 0 0 1 0"
    # Both pads, the end first.
    assert " ".join(layer.resolved([BlobSpec((1, 3, 13))], {}).tokens()) == "1 3 4 4 2 2 1 0 0 1 0"
    layer = find_layer("Convolution3D").parse("1 2 3 3 2 3 2 2 2 0 0 0 0 0".split())
    assert " ".join(layer.resolved([BlobSpec((1, 2, 5, 6, 7))], {}).tokens()) == (
        "1 2 3 3 2 3 2 2 2 1 0 1 0 0 1 1 1 0"
    )


def test_errors():
    layer = find_layer("Convolution1D").parse("1 3 4 3 1 0 0 0 -1".split())
    with pytest.raises(GraphError, match="expected 3 dims"):
        layer.output_specs([BlobSpec((1, 3, 4, 4))], {})
    with pytest.raises(GraphError, match=r"filter|weights"):
        layer.prepare({}, [BlobSpec((1, 3, 8))])
    with pytest.raises(GraphError, match="does not fit an input of 1"):
        layer.output_specs([BlobSpec((1, 3, 1))], {})
    layer = find_layer("Convolution3D").parse("2 2 3 1 1 1 1 1 1 0 0 0 0 -1".split())
    with pytest.raises(GraphError, match="2 groups do not divide 2 input and 3 output"):
        layer.output_specs([BlobSpec((1, 2, 3, 3, 3))], {})
    with pytest.raises(GraphError, match="expected 5 dims"):
        layer.output_specs([BlobSpec((1, 2, 3, 3))], {})
    layer = find_layer("Convolution3D").parse("1 2 3 1 0 1 1 1 1 0 0 0 0 -1".split())
    with pytest.raises(GraphError, match="the kernel is"):
        layer.output_specs([BlobSpec((1, 2, 3, 3, 3))], {})
