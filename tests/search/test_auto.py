"""Searches on files: the best is written, a target, a budget, a state to go on from."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant import QuantizeConfig, SearchConfig, VerifyConfig, quantize_model
from tnnquant.errors import ConfigError
from tnnquant.format import read_model
from tnnquant.quantization.quantize import quantize_split
from tnnquant.search import auto, mixer

TENSOR = QuantizeConfig(merge_type="tensor")


@pytest.fixture(autouse=True)
def quick_best(monkeypatch):
    """The recipe best has tests of its own; here something quick stands for it."""

    def recipe(graph, split, config, progress=None, budget=None, goal=None):
        config = config if config.recipe == "tnn" else QuantizeConfig(merge_type="mix")
        return quantize_split(graph, split, config, progress)

    monkeypatch.setattr(auto.recipes, "quantize", recipe)


def written(tmp_path, name="out"):
    return tuple((tmp_path / f"{name}_quantized.{suffix}").read_bytes() for suffix in ("tnnproto", "tnnmodel"))


def test_auto_writes_the_best_of_its_trials(files, tmp_path):
    report = quantize_model(*files, tmp_path / "out", TENSOR, search=SearchConfig(auto=True, time_budget=1e4))
    names = [trial["name"] for trial in report.trials]
    assert names[:5] == [
        "minmax, minmax, per tensor", "minmax, minmax, per channel", "recipe best", "kl, admm, per channel",
        "kl, admm, per mix",
    ]  # fmt: skip
    (best,) = [trial for trial in report.trials if trial["best"]]
    assert best["likeness"] == max(trial["likeness"] for trial in report.trials if trial["status"] == best["status"])
    assert report.verdict.status == best["status"] == "good"
    # The pictures held out were taken in at the end; the model without them is judged on them.
    assert (report.samples, report.held_out) == (20, 0)
    assert {found.held_out for found in report.verdict.sets} == {True, False}
    kept = quantize_model(
        *files, tmp_path / "kept", TENSOR, search=SearchConfig(auto=True, time_budget=1e4),
        verify=VerifyConfig(holdout=0.25),
    )  # fmt: skip
    assert (kept.samples, kept.held_out) == (15, 5)
    assert kept.verdict.sets[0].held_out
    # What was judged is what was written.
    assert kept.verdict.sets[0].outputs[0].figures["cosine"] == pytest.approx(best["likeness"], abs=1e-12)
    json.dumps(report.as_dict(), allow_nan=False)


def test_a_budget_of_nothing_still_writes_a_model(files, tmp_path):
    report = quantize_model(*files, tmp_path / "out", search=SearchConfig(auto=True, time_budget=0))
    assert len(report.trials) == 1
    assert any("the time budget of 0 s was too short for: recipe best" in line for line in report.warnings)
    # Never worse than a plain run: the same bytes.
    assert report.held_out == 0
    quantize_model(*files, tmp_path / "plain")
    assert written(tmp_path) == written(tmp_path, "plain")
    # The default is tried at any rate.
    report = quantize_model(*files, tmp_path / "out", TENSOR, search=SearchConfig(auto=True, time_budget=0))
    assert [trial["name"] for trial in report.trials][:2] == [
        "minmax, minmax, per tensor", "minmax, minmax, per channel"
    ]  # fmt: skip
    assert read_model(*(tmp_path / f"out_quantized.{suffix}" for suffix in ("tnnproto", "tnnmodel"))).is_quantized


def test_a_trial_beyond_the_budget_is_told_of(files, tmp_path, monkeypatch):
    clock = itertools.count(0.0, 40.0)
    monkeypatch.setattr(auto, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    report = quantize_model(*files, tmp_path / "out", search=SearchConfig(auto=True, time_budget=30))
    assert any(line.endswith("begun within the time budget of 30 s is finished") for line in report.warnings)
    assert report.seconds["trials"] > 30


def test_a_target_is_reached_with_layers_in_fp32(files, tmp_path):
    report = quantize_model(
        *files, tmp_path / "out", TENSOR, search=SearchConfig(target_agreement=0.9), verify=VerifyConfig(holdout=0.5)
    )
    base, best = report.trials
    assert best["best"]
    assert base["agreement"] < 0.9 <= best["agreement"]
    # One scale for channels whose ranges differ 300 times: what reads the blob, or what makes it, is to blame.
    assert {"wild", "second"} & set(best["fp32_layers"])
    assert len(best["fp32_layers"]) < 4
    assert report.target == {"agreement": 0.9, "reached": True}
    graph = read_model(*(tmp_path / f"out_quantized.{suffix}" for suffix in ("tnnproto", "tnnmodel")))
    reasons = {layer.name: layer.reason for layer in report.layers}
    for name in best["fp32_layers"]:
        assert not graph.node(name).quantized
        assert reasons[name] == "kept in fp32 for the verdict"


def test_a_target_that_cannot_be_reached(files, tmp_path, monkeypatch):
    monkeypatch.setattr(mixer.Mixer, "costs", lambda self: dict.fromkeys(mixer.candidates(self._base.graph), 1.0))
    report = quantize_model(
        *files, tmp_path / "out", TENSOR, search=SearchConfig(target_agreement=1.0), verify=VerifyConfig(holdout=0.5)
    )
    assert report.target["reached"] is False
    assert any("the target of 1 was not reached" in line for line in report.warnings)
    assert len(written(tmp_path)) == 2


def test_a_state_spares_what_was_done(files, tmp_path, monkeypatch):
    options = {"search": SearchConfig(auto=True, time_budget=1e4, state=str(tmp_path / "state"))}
    first = quantize_model(*files, tmp_path / "out", **options)
    bytes_before = written(tmp_path)
    monkeypatch.setattr("tnnquant.search.statistics.calibrate", None)
    monkeypatch.setattr(auto.Search, "_judge", None)
    again = quantize_model(*files, tmp_path / "out", **options)
    assert again.trials == first.trials
    assert written(tmp_path) == bytes_before


def test_a_changed_run_does_not_use_what_no_longer_holds(files, tmp_path):
    options = {"search": SearchConfig(state=str(tmp_path / "state"))}
    quantize_model(*files, tmp_path / "out", **options)
    plain = written(tmp_path)
    quantize_model(*files, tmp_path / "same", QuantizeConfig(weight_method="admm"), **options)
    assert len(list((tmp_path / "state").iterdir())) == 1
    path = files[2] / "00.npy"
    np.save(path, 3 * np.load(path))
    quantize_model(*files, tmp_path / "out", **options)
    assert len(list((tmp_path / "state").iterdir())) == 2
    assert written(tmp_path) != plain


def test_a_state_gives_the_bytes_of_a_plain_run(files, tmp_path):
    for blob in ("minmax", "kl"):
        config = QuantizeConfig(blob_method=blob)
        quantize_model(*files, tmp_path / "plain", config)
        quantize_model(*files, tmp_path / "kept", config, search=SearchConfig(state=str(tmp_path / "state")))
        assert written(tmp_path, "plain") == written(tmp_path, "kept")


def test_damaged_state_is_done_again(files, tmp_path):
    options = {"search": SearchConfig(auto=True, time_budget=1e4, state=str(tmp_path / "state"))}
    first = quantize_model(*files, tmp_path / "out", **options)
    (folder,) = (tmp_path / "state").iterdir()
    (folder / "statistics.npz").write_bytes(b"no archive")
    (folder / "results.json").write_text("{")
    again = quantize_model(*files, tmp_path / "out", **options)
    assert [trial["likeness"] for trial in again.trials] == [trial["likeness"] for trial in first.trials]


def test_an_interruption_keeps_the_best_so_far(files, tmp_path, monkeypatch):
    calls = []
    judge = auto.Search._judge

    def interrupted(self, graph):
        calls.append(graph)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judge(self, graph)

    monkeypatch.setattr(auto.Search, "_judge", interrupted)
    report = quantize_model(*files, tmp_path / "out", search=SearchConfig(auto=True, time_budget=1e4))
    assert len(report.trials) == 2
    assert any(line.startswith("interrupted: the model is the best") for line in report.warnings)


def test_trials_need_the_verdict(files, tmp_path):
    with pytest.raises(ConfigError, match="leave out no_verify"):
        quantize_model(*files, tmp_path / "out", search=SearchConfig(auto=True), verify=VerifyConfig(no_verify=True))


def test_the_recipe_that_chooses_gets_the_pictures_held_out_and_is_made_once(files, tmp_path, monkeypatch):
    calls = []

    def recipe(graph, split, config, progress=None, budget=None, goal=None):
        calls.append((len(split.calibrate.numbers), len(split.choose.numbers)))
        assert not set(split.calibrate.numbers) & set(split.choose.numbers)
        kept = QuantizeConfig(merge_type="mix", exclude=("first",))
        return quantize_split(graph, split, kept, progress)

    monkeypatch.setattr(auto.recipes, "quantize", recipe)
    options = {"search": SearchConfig(auto=True, time_budget=1e4, state=str(tmp_path / "state"))}
    first = quantize_model(*files, tmp_path / "out", **options)
    again = quantize_model(*files, tmp_path / "out", **options)
    assert calls == [(15, 5)]
    assert [trial["name"] for trial in first.trials][1] == "recipe best"
    assert again.trials == first.trials
    # The model from the state is as good as the one that was made: with its plan, and its reasons.
    config = QuantizeConfig(recipe="best")
    again = quantize_model(*files, tmp_path / "out", config, search=SearchConfig(state=str(tmp_path / "state")))
    assert len(calls) == 1  # the same pictures are held out: the same run
    assert {layer.name: layer.reason for layer in again.layers}["first"] == "excluded by exclude='first'"


def test_pictures_of_eval_that_choose_are_named_so(files, tmp_path):
    verify = VerifyConfig(eval_path=str(files[2]))
    reports = [
        quantize_model(*files, tmp_path / "out", TENSOR, search=SearchConfig(target_agreement=target), verify=verify)
        for target in (0.01, 0.9)
    ]
    assert [len(report.trials) for report in reports] == [1, 2]
    sources = [report.verdict.sets[0].source for report in reports]
    assert sources == ["all 20 evaluation pictures", "all 20 evaluation pictures; the model was chosen by them"]


def test_the_best_is_made_once_more_of_all_pictures(files, tmp_path):
    """The bytes are those of a plain run of its methods; layers that were kept in fp32 stay so."""
    report = quantize_model(*files, tmp_path / "out", search=SearchConfig(auto=True, time_budget=1e4))
    methods = {key: report.settings[key] for key in ("blob_method", "weight_method", "merge_type")}
    (best,) = [trial for trial in report.trials if trial["best"]]
    if not best["fp32_layers"] and best["name"] != "recipe best":
        quantize_model(*files, tmp_path / "plain", QuantizeConfig(**methods))
        assert written(tmp_path) == written(tmp_path, "plain")
    target = SearchConfig(target_agreement=0.9, time_budget=1e4)
    report = quantize_model(*files, tmp_path / "out", TENSOR, search=target)
    (best,) = [trial for trial in report.trials if trial["best"]]
    graph = read_model(*(tmp_path / f"out_quantized.{suffix}" for suffix in ("tnnproto", "tnnmodel")))
    assert best["fp32_layers"]
    assert not any(graph.node(name).quantized for name in best["fp32_layers"])
    assert (report.samples, report.held_out) == (20, 0)


def test_best_gets_the_time_that_is_left(files, tmp_path, monkeypatch):
    budgets = []

    def recipe(graph, split, config, progress=None, budget=None, goal=None):
        budgets.append(budget)
        return quantize_split(graph, split, QuantizeConfig(merge_type="mix"), progress)

    monkeypatch.setattr(auto.recipes, "quantize", recipe)
    quantize_model(*files, tmp_path / "out", search=SearchConfig(auto=True, time_budget=1e4))
    quantize_model(*files, tmp_path / "out", QuantizeConfig(recipe="best"), search=SearchConfig(target_agreement=0.5))
    assert len(budgets) == 2
    assert 0 < budgets[0] < 1e4
    assert budgets[1] is None


def test_no_layer_becomes_fp32_for_what_the_pictures_limit(files, tmp_path):
    """Of six pictures one is held out: every model is doubtful, and none is better with layers in fp32."""
    for path in sorted(files[2].iterdir())[6:]:
        path.unlink()
    report = quantize_model(*files, tmp_path / "out", search=SearchConfig(auto=True, time_budget=1e4))
    assert report.verdict.status == "doubtful"
    (best,) = [trial for trial in report.trials if trial["best"]]
    assert (best["status"], best["measured"], best["fp32_layers"]) == ("doubtful", "good", [])
    assert not any(trial["fp32_layers"] for trial in report.trials)
    assert not any("was not reached" in line for line in report.warnings)
