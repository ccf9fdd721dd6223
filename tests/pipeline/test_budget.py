"""What fits into a time budget."""

from dataclasses import replace

import numpy as np
import pytest

from tnnquant import QuantizeConfig, SearchConfig, quantize_model
from tnnquant.format import write_model
from tnnquant.pipeline import budget, job
from tnnquant.pipeline.budget import FEW, fitting, settled
from tnnquant.pipeline.duration import Pictures, Work, stages_of

WORK = Work(0.15, 4.8, 0.65, 0.2, 6.0, 0.4, 0.4, 7.0, 1.2, ((12769, 7e-7, 2e-6), (169, 3e-4, 5e-4)), 0.6, 1.0)
BEST = QuantizeConfig(recipe="best", fp32_share=0.2)


def seconds(recipe, made):
    return sum(stages_of(replace(BEST, recipe=recipe), WORK, Pictures.of(recipe, made)).values())


def test_what_is_taken_is_the_first_that_fits():
    whole, few, fast = seconds("best", 64), seconds("best", FEW), seconds("fast", FEW)
    assert whole > few > fast > 0
    found = [fitting(BEST, WORK, 2.0, 64, 2 * left * 1.2) for left in (whole, few, fast, fast / 2, 0.0)]
    kinds = [(one.config.recipe, one.made) for one in found]
    assert kinds == [("best", 64), ("best", FEW), ("fast", FEW), ("tnn", 64), ("tnn", 64)]
    assert found[0].config == BEST
    assert found[1].config == BEST
    assert found[2].config.fp32_share is None, "fast takes none"
    assert found[-1].config == QuantizeConfig()
    assert [one.asked for one in found] == [pytest.approx(2 * whole)] * 5
    assert [one.seconds for one in found[:3]] == [pytest.approx(2 * one) for one in (whole, few, fast)]
    assert all(0 < one.after < one.seconds for one in found)


def test_of_few_pictures_all_are_taken():
    found = [fitting(BEST, WORK, 1.0, 8, left) for left in (1e3, seconds("fast", 8) * 1.2, 0.0)]
    assert [(one.config.recipe, one.made) for one in found] == [("best", 8), ("fast", 8), ("tnn", 8)]


def test_what_needs_no_timing():
    whole = seconds("best", 64)
    assert settled(BEST, WORK, 64, 5 * whole).config == BEST
    assert settled(BEST, WORK, 64, whole) is None
    assert settled(BEST, WORK, 64, 0.0).config.recipe == "tnn"


@pytest.fixture
def files(build, tmp_path):
    net = build((1, 3, 12, 10))
    graph = net.graph(net.conv(net.conv("input", 3, 8), 8, 16))
    write_model(graph, tmp_path / "n.tnnproto", tmp_path / "n.tnnmodel")
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(7)
    for number in range(24):
        np.save(tmp_path / "in" / f"{number}.npy", rng.standard_normal((1, 3, 12, 10), np.float32))
    return tmp_path / "n.tnnproto", tmp_path / "n.tnnmodel", tmp_path / "in"


def written(files, tmp_path, name, recipe, seconds=None):
    report = quantize_model(
        *files, tmp_path / name, QuantizeConfig(recipe=recipe), search=SearchConfig(time_budget=seconds)
    )
    pair = (tmp_path / f"{name}_quantized.{end}" for end in ("tnnproto", "tnnmodel"))
    return report, [path.read_bytes() for path in pair]


def test_a_budget_that_is_enough_changes_nothing(files, tmp_path):
    without, with_one = (written(files, tmp_path, name, "best", left) for name, left in (("a", None), ("b", 1e6)))
    assert without[1] == with_one[1]
    assert not any("time_budget" in line for line in with_one[0].warnings)


def test_without_time_the_default_is_written(files, tmp_path):
    report, found = written(files, tmp_path, "a", "best", 0.0)
    plain, wanted = written(files, tmp_path, "b", "tnn")
    assert found == wanted
    (line,) = [line for line in report.warnings if "time_budget" in line]
    assert line.startswith("time_budget=0.0 is less than recipe best is expected to take here with 24 pictures (about ")
    assert line.endswith("made by recipe tnn from 24 pictures")
    assert report.settings["recipe"] == "tnn"
    assert report.verdict.status == plain.verdict.status


def test_of_fewer_pictures(files, tmp_path, monkeypatch):
    chosen = []

    def few(config, work, factor, made, left, evaluated):
        chosen.append((factor, made))
        return fitting(replace(config, recipe="fast"), work, factor, FEW, 1e9)

    monkeypatch.setattr(job, "settled", lambda *given: None)
    monkeypatch.setattr(job, "time_pictures", lambda *given: 0.5)
    monkeypatch.setattr(job, "fitting", few)
    report, _ = written(files, tmp_path, "a", "best", 60.0)
    assert chosen[0][0] > 1
    assert chosen[0][1] == 24
    assert report.samples == FEW
    assert any(line.endswith(f"made by recipe fast from {FEW} of 24 pictures") for line in report.warnings)


def test_other_recipes_are_not_bounded(files, tmp_path):
    plain, fast = written(files, tmp_path, "a", "fast"), written(files, tmp_path, "b", "fast", 0.0)
    assert plain[1] == fast[1]


def test_the_recipes_are_known():
    assert budget.BETTER[-1] == "best"
