"""The C++ snippet: its numbers, and what it is made of for each kind of input."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.config import QuantizeConfig
from tnnquant.graph import InputSpec
from tnnquant.inspect.snippet import cpp_snippet


def snippet(graph, device="any", **settings):
    return cpp_snippet(graph, "net.tnnproto", "net.tnnmodel", QuantizeConfig(**settings), device)


def vector(text, what):
    listed = re.search(rf"param\.{what} = {{(.*)}};", text)[1]
    return [np.float32(item.strip().rstrip("f")) for item in listed.split(",")]


@pytest.fixture
def graph(build):
    net = build((1, 3, 12, 10))
    return net.graph(net.conv("input", 3, 8))


def test_scale_and_bias_are_those_of_tnns_formula(graph):
    mean, scale = (104.0, 116.67, 122.7), (1 / 57.375, 0.0174, 0.0171)
    text = snippet(graph, mean=mean, scale=scale)
    pixels = np.arange(0, 256, 5, dtype=np.float64)
    for c, (factor, summand) in enumerate(zip(vector(text, "scale"), vector(text, "bias"), strict=True)):
        wanted = (pixels - np.float32(mean[c])) * np.float32(scale[c])
        assert np.allclose(factor * pixels + summand, wanted, rtol=0, atol=1e-6)


def test_without_a_mean_the_bias_is_zero(graph):
    assert "param.bias = {0.0f, 0.0f, 0.0f};" in snippet(graph, scale=(1 / 255,))


@pytest.mark.parametrize(("reverse", "wanted", "flag"), [(False, "R, G, B", "is_bgr"), (True, "B, G, R", "!is_bgr")])
def test_order_of_channels(graph, reverse, wanted, flag):
    text = snippet(graph, reverse_channel=reverse)
    assert f"The model wants {wanted};" in text
    assert f"param.reverse_channel = {flag};" in text
    assert "N8UC3" in text


@pytest.mark.parametrize(("device", "kind"), [("any", "ARM"), ("arm", "ARM"), ("x86", "X86"), ("naive", "NAIVE")])
def test_device(graph, device, kind):
    assert f"network.device_type = DEVICE_{kind};" in snippet(graph, device)


def test_precision_is_high_where_arm_would_approximate_the_sigmoid(build, graph):
    assert "PRECISION_AUTO;" in snippet(graph)
    net = build((1, 3, 12, 10))
    swish = net.graph(net.add("Sigmoid", net.conv("input", 3, 8), name="gate"))
    assert "PRECISION_HIGH;  // else gate is up to 12 % off" in snippet(swish)
    assert "PRECISION_AUTO;" in snippet(swish, "x86")


@pytest.mark.parametrize(
    ("mode", "part"),
    [("stretch", "--resize stretch"), ("crop", "!(10 * height > 12 * width)"), ("letterbox", "around[3] = {1, 2, 3}")],
)
def test_resize(graph, mode, part):
    assert part in snippet(graph, resize=mode, mean=(1.0, 2.0, 3.0))


def test_letterbox_without_a_mean_is_grey(graph):
    assert "around[3] = {114, 114, 114}" in snippet(graph, resize="letterbox")


@pytest.mark.parametrize(
    ("dims", "dtype", "parts"),
    [
        ((1, 1, 8, 8), DataType.FLOAT, ["NGRAY", "a picture of bytes"]),
        ((2, 4, 8, 8), DataType.FLOAT, ["N8UC4", "item < 2"]),
        ((1, 2, 8, 8), DataType.FLOAT, ["NCHW_FLOAT, DimsVector{1, 2, 8, 8}", "float* values", "MatConvertParam()"]),
        ((1, 16), DataType.INT32, ["NC_INT32", "int32_t* values"]),
    ],
)  # fmt: skip
def test_kinds_of_inputs(build, dims, dtype, parts):
    net = build(dims)
    made = net.add("Abs", "input")
    graph = net.graph(made).replace(inputs={"input": InputSpec(dims, dtype)})
    text = snippet(graph)
    for part in parts:
        assert part in text


def test_floats_into_an_int8_input_come_without_a_bias(build):
    net = build((1, 8, 6, 6))
    graph = net.graph(net.conv("input", 8, 8))
    graph = graph.with_nodes([node.replace(quantized=True) for node in graph.nodes])
    text = snippet(graph)
    assert "ignores MatConvertParam.bias" in text
    assert "param.bias =" not in text


def test_names_cannot_leave_their_string(build):
    net = build((1, 3, 8, 8), name='a"\\b')
    graph = net.graph(net.conv('a"\\b', 3, 4))
    text = snippet(graph)
    assert '"a\\"\\\\b"' in text
