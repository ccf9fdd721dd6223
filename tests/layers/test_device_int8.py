"""int8 layers as on ARM and x86: what they share with the naive device's, and where a code differs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.layers.device_int8 import _codes
from tnnquant.quantization.quantize import quantize_graph


def test_codes():
    values = np.array([0.5, -0.5, 1.5, -2.5, 0.49999997, 200, -200, np.inf, -np.inf, np.nan], np.float32)
    assert _codes(values).tolist() == [1, -1, 2, -3, 0, 127, -128, 127, -128, 0]


def quantized(net, out, rng, dims):
    pictures = [{"input": rng.standard_normal(dims).astype(np.float32)} for _ in range(3)]
    samples = [SimpleNamespace(name=f"s{i}", arrays=arrays) for i, arrays in enumerate(pictures)]
    return quantize_graph(net.graph(out), samples, QuantizeConfig(device="naive")).graph


def with_filter(graph, name, change):
    """The graph with other codes in a filter."""

    def changed(node):
        stored = node.resource.tensors
        tensor = replace(stored["filter"], data=change(stored["filter"].data))
        return node.replace(resource=replace(node.resource, tensors={**stored, "filter": tensor}))

    return graph.with_nodes([changed(node) if node.name == name else node for node in graph.nodes])


def codes(graph, x, **kwargs):
    blobs = {}
    Executor(graph, **kwargs).run({"input": x}, lambda name, array: blobs.__setitem__(name, array.copy()))
    return blobs


@pytest.mark.parametrize(
    ("channels", "params"),
    [
        (5, {"kernel": 3}), (6, {"kernel": 3, "stride": 2, "groups": 2}), (4, {"kernel": 5}), (3, {"kernel": 3}),
        (40, {"kernel": 1}), (7, {"kernel": 3, "groups": 7}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("device", ["arm", "x86"])
def test_weights_of_128_are_summed_in_16_bits_on_arm_alone(build, rng, channels, params, device):
    """Beside sums of pairs as they are written down: products k and k + 8 of every sixteen, channels in fours."""
    dims = (1, channels, 7, 6)
    net = build(dims)
    x = net.conv("input", channels, channels, kernel=1, name="first")
    graph = quantized(net, net.conv(x, channels, 14 if channels != 7 else 7, name="second", **params), rng, dims)
    graph = with_filter(graph, "second", lambda w: np.where(rng.random(w.size) < 0.4, -128, w).astype(np.int8))
    first = graph.scales["first_out"]
    graph = replace(graph, scales={**graph.scales, "first_out": replace(first, scale=first.scale * np.float32(0.2))})
    picture = rng.standard_normal(dims).astype(np.float32) * 2
    plain, there = codes(graph, picture), codes(graph, picture, device=device)
    assert np.array_equal(plain["first_out"], there["first_out"])
    wanted = plain["second_out"]
    if device == "arm" and params.get("groups", 1) != channels:
        wanted = summed_in_pairs(graph, there["first_out"])
        assert not np.array_equal(wanted, plain["second_out"]), "the case shows nothing"
    assert np.array_equal(there["second_out"], wanted)


def summed_in_pairs(graph, x):
    node = graph.node("second")
    layer, tensors = node.layer, node.tensors
    c = x.shape[1] // layer.group
    w = tensors["filter"].data.reshape(layer.output_channel, c, layer.kernel_h, layer.kernel_w).astype(np.int64)
    lanes = c if c < 4 else -(-c // 4) * 4
    pad = layer.pad_h
    wide = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros(Executor(graph).specs["second_out"].dims, np.int8)
    factor = tensors["scale"].data / graph.scales["second_out"].scale
    for _, o, i, j in np.ndindex(out.shape):
        group = o // (layer.output_channel // layer.group)
        y, x0 = i * layer.stride_h, j * layer.stride_w
        window = wide[0, group * c : (group + 1) * c, y : y + layer.kernel_h, x0 : x0 + layer.kernel_w]
        products = np.zeros((*window.shape[1:], lanes), np.int64)
        products[..., :c] = (window * w[o]).transpose(1, 2, 0)
        flat = products.reshape(-1)
        flat = np.concatenate([flat, np.zeros(-flat.size % 8, np.int64)])
        even = flat.size // 16 * 16
        pairs = flat[:even].reshape(-1, 2, 8).sum(1).astype(np.int16).astype(np.int64)
        total = pairs.sum() + flat[even:].sum() + tensors["bias"].data[o]
        out[0, o, i, j] = _codes(np.float32(total) * factor.reshape(-1)[o % factor.size])
    return out


def test_a_fused_addend_is_rounded_once(build, rng):
    """A tie of the sum as it is rounded twice is none of the sum that is rounded once, or the other way round."""
    dims = (1, 40, 14, 14)
    net = build(dims)
    a = net.conv("input", 40, 40, kernel=1, name="a")
    graph = quantized(net, net.add("Add", [net.conv(a, 40, 40, kernel=1, name="b"), a], -1, name="sum"), rng, dims)

    def sparse(weights):
        made = np.zeros((40, 40), np.int8)
        for row in made:
            row[rng.integers(0, 40, 2)] = rng.integers(-3, 4, 2)
        return made.reshape(weights.shape)

    graph = with_filter(graph, "b", sparse)
    scales = {"a_out": 0.3, "sum_out": 1.0}
    graph = replace(graph, scales={
        blob: replace(p, scale=np.full_like(p.scale, scales.get(blob, p.scale))) for blob, p in graph.scales.items()
    })  # fmt: skip
    node = graph.node("b")
    scale = replace(node.tensors["scale"], data=np.full_like(node.tensors["scale"].data, 0.1))
    resource = replace(node.resource, tensors={**node.resource.tensors, "scale": scale})
    graph = graph.with_nodes([n.replace(resource=resource) if n.name == "b" else n for n in graph.nodes])
    picture = rng.standard_normal(dims).astype(np.float32)
    plain, arm, x86 = (codes(graph, picture, device=device) for device in ("naive", "arm", "x86"))
    assert np.array_equal(plain["a_out"], arm["a_out"])
    differing = plain["sum_out"] != arm["sum_out"]
    assert 0 < differing.sum() < 20
    assert np.abs(plain["sum_out"].astype(int) - arm["sum_out"]).max() == 1
    assert np.array_equal(arm["sum_out"], x86["sum_out"])
