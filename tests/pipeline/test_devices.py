"""What a run says of the devices."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig, VerifyConfig
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model, write_model
from tnnquant.pipeline.api import quantize_model


@pytest.fixture
def job(build, rng, tmp_path):
    """A function that quantizes a graph from file to file, and gives the report."""

    def run(graph, *, verify=None, **options):
        write_model(graph, tmp_path / "f.tnnproto", tmp_path / "f.tnnmodel")
        folder = tmp_path / "inputs"
        folder.mkdir(exist_ok=True)
        for i in range(8):
            np.save(folder / f"{i}.npy", rng.standard_normal((1, 3, 8, 8)).astype(np.float32))
        files = tmp_path / "f.tnnproto", tmp_path / "f.tnnmodel", folder, tmp_path / "out"
        return quantize_model(*files, QuantizeConfig(**options), verify=verify or VerifyConfig()).as_dict(), tmp_path

    return run


def head_net(build):
    net = build((1, 3, 8, 8))
    x = net.add("ReLU", net.conv("input", 3, 12, name="first"))
    x = net.add("Permute", net.add("Reshape", x, 0, 3, (1, 12, 64), 0), (0, 2, 1))
    net.constants["weight"] = net.rng.standard_normal((12, 5)).astype(np.float32)
    return net.graph(net.add("MatMul", [x, "weight"], name="head"))


def test_what_was_rewritten_is_told(build, job):
    report, folder = job(head_net(build))
    assert report["settings"]["device"] == "any"
    assert report["rewritten"] == [
        {"layer": "head", "type": "MatMul", "how": "InnerProduct", "rule": "channels first", "devices": ["arm"]}
    ]
    assert [f for f in report["findings"] if f["outcome"] != "inexact"] == []
    layers = {layer["name"]: layer["precision"] for layer in report["layers"]}
    assert layers["head"] == "int8"
    written = read_model(folder / "out_quantized.tnnproto", folder / "out_quantized.tnnmodel")
    assert written.node("head").layer.TYPE_NAMES[0] == "InnerProduct"


def test_the_naive_device_leaves_it(build, job):
    report, folder = job(head_net(build), device="naive")
    assert report["rewritten"] == report["findings"] == []
    written = read_model(folder / "out_quantized.tnnproto", folder / "out_quantized.tnnmodel")
    assert written.node("head").layer.TYPE_NAMES[0] == "MatMul"


@pytest.mark.parametrize("pattern", ["head", "type:MatMul", "type:InnerProduct"])
def test_a_rewritten_layer_can_be_excluded_by_its_old_and_new_names(build, job, pattern):
    report, _ = job(head_net(build), exclude=(pattern,))
    layers = {layer["name"]: layer["precision"] for layer in report["layers"]}
    assert layers["head"] == "fp32"
    assert layers["first"] == "int8"


def test_zero_points_are_told(build, job):
    net = build((1, 3, 8, 8))
    report, folder = job(net.graph(net.conv("input", 3, 8)), blob_method=3, weight_method=3)
    told = "blob_method='minmax' instead of asymmetric, weight_method='minmax'"
    assert any(told in line for line in report["warnings"])
    written = read_model(folder / "out_quantized.tnnproto", folder / "out_quantized.tnnmodel")
    assert not any(params.zero_point.any() for params in written.scales.values())


def left_net(build):
    """A layer that ARM has no kernel of, after an int8 one."""
    net = build((1, 3, 8, 8))
    return net.graph(net.add("LRN", net.conv("input", 3, 8), 1.0, 1e-4, 0.75, 5, name="norm"))


@pytest.mark.parametrize("device", ["any", "arm"])
def test_what_is_left_breaks_the_model(build, job, device):
    report, _ = job(left_net(build), device=device)
    assert [(f["layer"], f["outcome"], f["device"]) for f in report["findings"]] == [("norm", "refused", "arm")]
    assert report["verdict"]["status"] == report["verdict"]["sets"][0]["status"] == "broken"
    first = report["verdict"]["sets"][0]["limits"][0]
    assert first["where"] == f"device {device}"
    assert first["text"].startswith("layer 'norm' (LRN) on arm: refused, it has no kernel on ARM")
    assert not any("norm" in line for line in report["warnings"]), "told once"
    notes = report["verdict"]["sets"][0]["notes"]
    assert any("device='x86' judges it for that one" in note for note in notes) == (device == "any")


@pytest.mark.parametrize("device", ["x86", "naive"])
def test_the_other_devices_run_it(build, job, device):
    report, _ = job(left_net(build), device=device)
    assert report["findings"] == []
    assert report["verdict"]["status"] != "broken"


def test_without_a_verdict_it_is_a_warning(build, job):
    report, _ = job(left_net(build), verify=VerifyConfig(no_verify=True))
    assert report["verdict"] is None
    assert any("'norm' (LRN) on arm: refused" in line for line in report["warnings"])


def test_a_model_that_cannot_be_int8_gets_int8_weights(build, job):
    net = build((1, 3, 8, 8))
    x = net.conv(net.conv("input", 3, 8), 8, 5)
    report, _ = job(net.graph(net.add("Tile", x, (1, 1, 1, 300), name="copies")))
    assert report["settings"]["recipe"] == "dynamic"
    assert "'copies'" in report["warnings"][0]


def test_split_writes_two_models(build, job):
    net = build((1, 3, 8, 8))
    x = net.conv(net.conv("input", 3, 8), 8, 5, name="scores")
    report, folder = job(net.graph(net.add("Tile", x, (1, 1, 1, 300), name="copies")), split=True)
    assert report["settings"]["recipe"] == "tnn"
    assert report["tail"]["inputs"] == ["scores_out"]
    body = read_model(folder / "out_quantized.tnnproto", folder / "out_quantized.tnnmodel")
    tail = read_model(folder / "out_tail.tnnproto", folder / "out_tail.tnnmodel")
    assert body.outputs == ("scores_out",)
    assert tuple(tail.inputs) == ("scores_out",)
    assert not tail.is_quantized
    assert report["findings"] == []


def test_labels_of_a_map_stay_int32_beside_int8_layers(build, job):
    net = build((1, 3, 8, 8))
    x = net.conv(net.conv("input", 3, 8), 8, 5)
    report, folder = job(net.graph(net.add("ArgMaxOrMin", x, 1, 1, name="labels")))
    assert report["settings"]["recipe"] == "tnn"
    assert [change["layer"] for change in report["rewritten"]] == ["labels"]
    assert [f for f in report["findings"] if f["outcome"] != "inexact"] == []
    assert report["verdict"]["sets"][0]["outputs"][0]["kind"] == "integers"
    written = Executor(read_model(folder / "out_quantized.tnnproto", folder / "out_quantized.tnnmodel"))
    labels = written.run({"input": np.load(folder / "inputs" / "0.npy")})["labels_out"]
    assert labels.dtype == np.int32
    assert labels.shape == (1, 1, 8, 8)
    wanted = Executor(net.graph("labels_out")).run({"input": np.load(folder / "inputs" / "0.npy")})["labels_out"]
    assert (labels == wanted).mean() > 0.9
