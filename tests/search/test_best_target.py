"""A target on top of the recipe that shifts codes: layers go back to fp32 from a model without that step."""

import numpy as np
import pytest

from tnnquant import QuantizeConfig, SearchConfig, VerifyConfig, quantize_model
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model, write_model
from tnnquant.recipes.best.workbench import Steps, quantize_with
from tnnquant.search import auto, mixer

BEST = QuantizeConfig(recipe="best")


@pytest.fixture
def files(build, tmp_path, rng):
    """(proto, model, folder) of a network in which some blobs may use all 256 codes; its outputs are values."""
    net = build((1, 3, 16, 12))
    a = net.conv("input", 3, 8, name="first", activation_type=1)
    b = net.conv(a, 8, 16, kernel=1, name="second", activation_type=1)
    c = b
    for i in range(4):
        c = net.conv(c, 16, 16, kernel=1, name=f"middle{i}", activation_type=1)
    paths = tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel"
    write_model(net.graph(net.conv(c, 16, 4, kernel=1, name="last", bias=False)), *paths)
    folder = tmp_path / "inputs"
    folder.mkdir()
    for i in range(24):
        np.save(folder / f"{i:02}.npy", rng.standard_normal((1, 3, 16, 12)).astype(np.float32))
    return *paths, folder


def test_layers_go_back_to_fp32_until_the_target_is_reached(files, tmp_path, monkeypatch):
    shifted = []

    def make(graph, split, config, *_, **__):
        # The step alone: what the whole recipe makes is too good a start for a target between the two.
        result = quantize_with(graph, split, config, Steps(full_range=True))
        shifted.append(set(result.zero_codes))
        return result

    monkeypatch.setattr(auto.recipes, "quantize", make)
    # Layers of much the same size: a few are more than half of the arithmetic.
    monkeypatch.setattr(mixer.Mixer, "costs", lambda self: {})
    verify = VerifyConfig(holdout=0.25)
    alone = quantize_model(*files, tmp_path / "out", BEST, search=SearchConfig(target_agreement=0.5), verify=verify)
    target = 1 - 0.6 * (1 - alone.trials[0]["agreement"])
    search = SearchConfig(target_agreement=target, time_budget=1e4)
    report = quantize_model(*files, tmp_path / "out", BEST, search=search, verify=verify)
    assert all(shifted)
    assert len(shifted) == 2
    base, best = report.trials
    assert base["name"] == "recipe best"
    assert base["agreement"] < target <= best["agreement"]
    assert best["best"]
    assert report.target == {"agreement": target, "reached": True}
    assert 0 < len(best["fp32_layers"]) < 7
    # What was judged is what was written, and no code is shifted in it.
    graph = read_model(*(tmp_path / f"out_quantized.{suffix}" for suffix in ("tnnproto", "tnnmodel")))
    assert {node.name for node in graph.nodes if not node.quantized} >= set(best["fp32_layers"])
    fp32, int8 = Executor(read_model(*files[:2])), Executor(graph)
    for path in sorted(files[2].iterdir())[:3]:
        inputs = {"input": np.load(path)}
        wanted, got = (next(iter(executor.run(inputs).values())).ravel() for executor in (fp32, int8))
        assert wanted @ got / np.linalg.norm(wanted) / np.linalg.norm(got) > 0.999
    assert report.verdict.sets[0].outputs[0].figures["pooled_cosine"] == pytest.approx(best["agreement"], abs=1e-12)


def test_a_target_that_best_reaches_itself_keeps_its_model(files, tmp_path):
    report = quantize_model(*files, tmp_path / "out", BEST, search=SearchConfig(target_agreement=0.9))
    assert [trial["name"] for trial in report.trials] == ["recipe best"]
    assert report.target["reached"] is True
    plain = quantize_model(*files, tmp_path / "plain", BEST)
    assert plain.verdict.status == report.verdict.status
    for suffix in ("tnnproto", "tnnmodel"):
        written = [(tmp_path / f"{name}_quantized.{suffix}").read_bytes() for name in ("out", "plain")]
        assert written[0] == written[1]


@pytest.fixture
def lopsided(build, tmp_path, rng):
    """(proto, model, folder) of a network whose blobs the recipes copy, to shift them: inputs from 0 to 1, a swish."""
    net = build((1, 3, 16, 12))
    a = net.conv("input", 3, 8, name="first")
    b = net.add("Mul", [a, net.add("Sigmoid", a)])
    c = net.conv(b, 8, 16, kernel=1, name="second", activation_type=1)
    paths = tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel"
    write_model(net.graph(net.conv(c, 16, 4, kernel=1, name="last")), *paths)
    folder = tmp_path / "inputs"
    folder.mkdir()
    for i in range(24):
        np.save(folder / f"{i:02}.npy", rng.random((1, 3, 16, 12)).astype(np.float32))
    return *paths, folder


@pytest.mark.parametrize("recipe", ["best", "fast"])
def test_layers_go_back_to_fp32_where_blobs_were_copied(lopsided, tmp_path, recipe):
    """Whatever layers a recipe adds, those of its mixable model are the fp32 model's, one by one."""
    config = QuantizeConfig(recipe=recipe)
    plain = quantize_model(*lopsided, tmp_path / "plain", config)
    assert any("copies a blob" in layer.reason for layer in plain.layers)
    search = SearchConfig(target_agreement=1.0, time_budget=1e4)
    report = quantize_model(*lopsided, tmp_path / "out", config, search=search)
    base, *more = report.trials
    assert base["name"] == f"recipe {recipe}"
    assert more
    assert all(trial["fp32_layers"] for trial in more)
    assert report.target == {"agreement": 1.0, "reached": False}
    # What is written is as good as what was tried.
    fp32, int8 = (Executor(read_model(*files)) for files in (lopsided[:2], (report.proto, report.model)))
    for path in sorted(lopsided[2].iterdir())[:3]:
        inputs = {"input": np.load(path)}
        wanted, got = (next(iter(executor.run(inputs).values())).ravel() for executor in (fp32, int8))
        assert wanted @ got / np.linalg.norm(wanted) / np.linalg.norm(got) > 0.99
