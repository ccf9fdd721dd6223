"""Small networks drawn at random: what is quantized hangs together, whatever the neighbours."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph.lower import lower
from tnnquant.layers.base import QuantRole
from tnnquant.layers.concat import Concat
from tnnquant.quantization.quantize import quantize_graph

DIMS = (1, 6, 8, 7)


def drawn(net, rng):
    """Seven layers on blobs of one size, each reading blobs made before; unread blobs and some others are outputs."""
    blobs = ["input"]

    def pick():
        return blobs[max(0, len(blobs) - 1 - int(rng.integers(4)))]

    for _ in range(7):
        kind = rng.choice(["conv", "point", "add", "relu", "relu6", "pool", "concat", "swish", "sigmoid"])
        if kind in ("conv", "point"):
            blob = net.conv(pick(), 6, 6, kernel=3 if kind == "conv" else 1)
        elif kind == "add":
            blob = net.add("Add", [blobs[-1], pick()], -1)
        elif kind == "pool":
            blob = net.pool(pick(), kernel=3, stride=1, pad=1)
        elif kind == "concat":
            blob = net.conv(net.add("Concat", [blobs[-1], pick()], 1), 12, 6, kernel=1)
        elif kind == "swish":
            source = pick()
            blob = net.add("Mul", [source, net.add("Sigmoid", source)], -1)
        else:
            blob = net.add({"relu": "ReLU", "relu6": "ReLU6", "sigmoid": "Sigmoid"}[kind], pick())
        blobs.append(blob)
    read = {blob for node in net.nodes for blob in node.inputs}
    return [blob for blob in blobs[1:] if blob not in read or rng.random() < 0.15]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("blob_method", "merge_type"), [("minmax", "channel"), ("asymmetric", "channel"), ("kl", "mix")]
)
def test_random_network(build, seed, blob_method, merge_type):
    rng = np.random.default_rng([20261126, seed])
    net = build(DIMS)
    net.rng = rng
    net.conv("input", 6, 6, name="first")
    graph = net.graph("first_out", *drawn(net, rng))
    pictures = [rng.standard_normal(DIMS).astype(np.float32) for _ in range(4)]
    samples = [SimpleNamespace(name=f"s{i}", arrays={"input": x}) for i, x in enumerate(pictures)]
    device = "naive" if blob_method == "asymmetric" else "any"  # zero points are kept there alone
    config = QuantizeConfig(blob_method=blob_method, merge_type=merge_type, device=device)
    result = quantize_graph(graph, samples, config)
    check_scales(result)
    int8, fp32 = Executor(result.graph), Executor(graph)
    runs = [(fp32.run({"input": x}), int8.run({"input": x})) for x in pictures]
    for name in graph.outputs:
        wanted, got = (np.concatenate([run[i][name].ravel() for run in runs]).astype(np.float64) for i in (0, 1))
        error = np.sqrt(np.mean((wanted - got) ** 2))
        # KL may clip the tails of these small samples.
        assert error <= (0.06 if blob_method != "kl" else 0.3) * np.sqrt(np.mean(wanted**2)) + 1e-6, name


def check_scales(result):
    """Scales of everything TNN will ask for once it has fused; equal ones where bytes are moved."""
    graph, scales = result.graph, result.graph.scales
    for node in graph.nodes:
        if node.quantized and node.layer.role == QuantRole.PASS:
            for field in ("scale", "zero_point"):
                above, below = (getattr(scales[blob], field) for blob in (node.inputs[0], node.outputs[0]))
                np.testing.assert_array_equal(above, below)
        if node.quantized and isinstance(node.layer, Concat) and scales[node.inputs[0]].scale.size > 1:
            joined = np.concatenate([scales[blob].scale for blob in node.inputs])
            np.testing.assert_array_equal(scales[node.outputs[0]].scale, joined)
    executed = lower(graph)
    made = {blob for node in executed.nodes for blob in node.outputs}
    assert made.issuperset(graph.outputs)
    for node in executed.nodes:
        if node.quantized and node.layer.role != QuantRole.NONE:
            assert {*node.inputs, *node.outputs} <= executed.scales.keys()
