"""Real networks for all devices: no rule is broken, and the share of int8 stays."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.devices import examine
from tnnquant.devices.rewrites import make_right
from tnnquant.format import read_model, write_model
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.quantization.quantize import plan_graph, quantize_graph
from tnnquant.recipes.best.islands import layer_macs

#: Share of the multiplications in int8 by the default methods, for the naive device and for all alike.
SHARES = {
    "squeezenet_v1.1": 1.0, "efficientnet_lite0": 1.0, "real/yolov8n": 1.0, "real/ppocr_det": 0.98,
    "real/ppocr_cls": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("name", SHARES)
def test_int8_share(shared, name):
    path = shared / "data" / f"{name}.tnnproto"
    graph = read_model(path, path.with_suffix(".tnnmodel"))
    prepared = prepare_for_quantization(graph)
    assert make_right(prepared, "any", mixed=True).graph is prepared, "a layer was rewritten"
    shares = []
    for device in ("naive", "any"):
        executor, plan = plan_graph(graph, QuantizeConfig(device=device))
        macs = layer_macs(executor.inference)
        shares.append(sum(macs[p] for p in plan.int8) / sum(macs.values()))
        assert not [f for f in examine(executor.graph, "any") if f.outcome.breaks]
    assert shares[0] == shares[1]
    assert shares[1] >= SHARES[name] - 0.02, shares


def files(graph, config, samples, folder):
    """The bytes of the pair that a graph is quantized to."""
    folder.mkdir()
    result = quantize_graph(graph, samples, config)
    write_model(result.graph, folder / "m.tnnproto", folder / "m.tnnmodel")
    return [(folder / name).read_bytes() for name in ("m.tnnproto", "m.tnnmodel")]


def drawn(rng, graph, count):
    return [
        SimpleNamespace(name=f"s{i}", arrays={
            name: rng.standard_normal(spec.dims).astype(np.float32) for name, spec in graph.inputs.items()
        })
        for i in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["squeezenet_v1.1", "real/ppocr_cls"])
def test_the_same_files_where_no_rule_is_hit(shared, tmp_path, rng, name):
    path = shared / "data" / f"{name}.tnnproto"
    graph = read_model(path, path.with_suffix(".tnnmodel"))
    samples = drawn(rng, graph, 2)
    made = {device: files(graph, QuantizeConfig(device=device), samples, tmp_path / device)
            for device in ("any", "arm", "x86", "naive")}  # fmt: skip
    assert made["any"] == made["arm"] == made["x86"] == made["naive"]


@pytest.mark.parametrize("options", [{}, {"blob_method": "kl", "weight_method": "admm", "merge_type": "mix"}])
def test_the_same_files_of_a_small_network(build, tmp_path, rng, options):
    net = build((1, 3, 16, 16))
    x = net.add("ReLU6", net.conv("input", 3, 16, stride=2))
    y = net.conv(net.add("ReLU6", net.conv(x, 16, 16, groups=16)), 16, 16, kernel=1)
    x = net.pool(net.add("Add", [y, x], -1), 1, 0, 1)
    graph = net.graph(net.add("Softmax", net.inner_product(x, 16, 10), 1))
    samples = drawn(rng, graph, 4)
    made = {device: files(graph, QuantizeConfig(device=device, **options), samples, tmp_path / device)
            for device in ("any", "naive")}  # fmt: skip
    assert made["any"] == made["naive"]
