"""Real networks for all devices: no rule is broken, and the share of int8 stays."""

from __future__ import annotations

import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.devices import examine
from tnnquant.devices.rewrites import make_right
from tnnquant.format import read_model
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.quantization.quantize import plan_graph
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
