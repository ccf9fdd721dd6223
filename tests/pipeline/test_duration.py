"""How long a run will take: what is counted, what it costs, and what is timed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.inputs import Samples, scan
from tnnquant.pipeline import duration
from tnnquant.pipeline.duration import (
    END,
    START,
    TIMED,
    Pictures,
    Work,
    amounts,
    expected_seconds,
    factor_of,
    seconds_of_others,
    seconds_of_trial,
    stages_of,
    time_pictures,
    work_of,
)
from tnnquant.quantization.quantize import plan_graph
from tnnquant.verdict.verify import SECOND

#: About that of SqueezeNet.
WORK = Work(0.15, 4.8, 0.65, 0.2, 6.0, 0.4, 0.4, 7.0, 1.2, ((12769, 7e-7, 2e-6), (169, 3e-4, 5e-4)), 0.6, 1.0)


@pytest.fixture
def planned(build):
    net = build((1, 3, 12, 10))
    graph = net.graph(net.conv(net.conv("input", 3, 8, name="a"), 8, 4, 1, name="b"))
    return plan_graph(graph, QuantizeConfig(device="naive"))


def test_the_work_of_a_model(planned):
    work, pixels = work_of(*planned), 12 * 10
    assert work.inputs == pytest.approx(3 * pixels / 1e6)
    assert work.values == pytest.approx(pixels * (3 + 8 + 4) / 1e6)
    assert work.scales == pytest.approx((3 + 8 + 4) / 1e3)
    assert (work.nodes, work.layers, work.sets) == (0.02, 0.02, 0.03)
    assert work.weights == pytest.approx((8 * 27 + 4 * 8) / 1e6)
    assert work.places == ((pixels, 27**2 / 1e9, 27 * 8 / 1e9), (pixels, 8**2 / 1e9, 8 * 4 / 1e9))
    assert work.rounding == pytest.approx((27**2 * 8 + 8**2 * 4) / 1e9)
    assert work.factors == pytest.approx((27**3 + 8**3) / 1e9)
    assert work.run < work.reruns < 3 * work.run, "from the input and the first layer on all of it, then less"


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (QuantizeConfig(), ["ranges", "weights"]),
        (QuantizeConfig(blob_method="kl"), ["ranges", "histograms", "weights"]),
        (QuantizeConfig(recipe="fast"), ["reading", "preparing", "ranges", "scales, all", "weights"]),
        (
            QuantizeConfig(recipe="best"),
            [
                "reading", "preparing", "ranges", "scales", "fp32 layers", "scales, trial", "weights, trial",
                "ranges, others", "scales, all", "weights",
            ],
        ),
    ],
)  # fmt: skip
def test_the_stages_of_a_recipe(config, names):
    few, many = (stages_of(config, WORK, Pictures.of(config.recipe, count)) for count in (8, 64))
    assert list(few) == [START, *names, "verdict", SECOND, END]
    assert all(many[name] >= few[name] >= 0 for name in few)
    assert sum(many.values()) > sum(few.values()) > 0.3
    more = stages_of(config, WORK, replace(Pictures.of(config.recipe, 8), evaluated=100))
    assert more["verdict"] > 5 * few["verdict"]


def test_what_a_run_leaves_out():
    config = QuantizeConfig(recipe="best", fp32_share=0)
    assert "fp32 layers" not in stages_of(config, WORK, Pictures.of("best", 64))
    assert stages_of(QuantizeConfig(recipe="dynamic"), WORK, Pictures(8)) == {}


def test_more_cores_take_as_much_less_as_a_stage_runs_side_by_side(monkeypatch):
    costs = {"tnn": {"ranges": {"pictures": 1.0, "parallel": 0.5}, "weights": {"model": 2.0}}}
    monkeypatch.setattr(duration, "COSTS", costs)
    found = [stages_of(QuantizeConfig(), WORK, Pictures(8), threads) for threads in (1, 2, 4)]
    assert [stages["ranges"] for stages in found] == [8.0, 6.0, 5.0]
    assert [stages["weights"] for stages in found] == [2.0, 2.0, 2.0]


def test_what_is_counted_grows_with_the_pictures_a_stage_looks_at():
    few, many = (amounts(QuantizeConfig(recipe="best"), WORK, Pictures.of("best", count)) for count in (16, 1000))
    assert many["reading"]["pictures"] == 1000
    assert few["ranges"]["pictures"] == 12
    assert many["ranges"]["pictures"] < 200, "as many as fit into memory"
    assert (few["ranges, others"]["pictures"], many["ranges, others"]["pictures"]) == (4, 16)
    assert many["weights"]["moments"] >= few["weights"]["moments"]
    fast = [amounts(QuantizeConfig(recipe="fast"), WORK, Pictures(count))["ranges"]["pictures"] for count in (24, 99)]
    assert fast == [16, 16]


def test_a_slower_machine_takes_longer():
    for recipe in ("tnn", "fast", "best"):
        config = QuantizeConfig(recipe=recipe)
        few, many = (expected_seconds(config, WORK, 1.0, count) for count in (8, 64))
        assert few < many
        assert expected_seconds(config, WORK, 0.5, 64) == pytest.approx(many / 2)
        assert expected_seconds(config, WORK, 1.0, 64, 400) > many
    assert expected_seconds(QuantizeConfig(recipe="dynamic"), WORK, 1.0, 8) is None


def test_the_factor_of_a_machine():
    assert factor_of(WORK, 0.04) == pytest.approx(2 * factor_of(WORK, 0.02))
    stages = stages_of(QuantizeConfig(), WORK, Pictures(1000))
    assert factor_of(WORK, stages["ranges"] / 1000) == pytest.approx(1.0, rel=0.05)


def test_better_methods_take_longer():
    configs = (
        QuantizeConfig(), QuantizeConfig(blob_method="kl", weight_method="admm"), QuantizeConfig(recipe="best"),
    )  # fmt: skip
    found = [expected_seconds(config, WORK, 1.0, 64) for config in configs]
    assert found == sorted(found)


def test_a_few_pictures_are_timed_and_looked_at_once_more(planned, tmp_path, monkeypatch):
    executor, plan = planned
    for number in range(10):
        np.save(tmp_path / f"{number}.npy", np.full((1, 3, 12, 10), number, np.float32))
    samples = Samples(scan(tmp_path), executor.graph.inputs)
    seen = []
    monkeypatch.setattr("tnnquant.pipeline.duration.calibrate", lambda executor, few, observers: seen.append(len(few)))
    assert time_pictures(executor, plan, samples) >= 0
    assert seen == [TIMED, TIMED]
    monkeypatch.undo()
    assert time_pictures(executor, replace(plan), samples.subset([1, 2])) > 0


def test_the_report_of_a_dry_run(build, tmp_path):
    from tnnquant import SearchConfig, quantize_model
    from tnnquant.format import write_model

    net = build((1, 3, 12, 10))
    write_model(net.graph(net.conv("input", 3, 8)), tmp_path / "n.tnnproto", tmp_path / "n.tnnmodel")
    (tmp_path / "in").mkdir()
    for number in range(6):
        np.save(tmp_path / "in" / f"{number}.npy", np.full((1, 3, 12, 10), number, np.float32))
    files = tmp_path / "n.tnnproto", tmp_path / "n.tnnmodel", tmp_path / "in", tmp_path / "out"
    report = quantize_model(*files, dry_run=True)
    assert report.estimate.timed == TIMED
    assert report.estimate.seconds > 0
    assert "pictures that were timed" in str(report)
    assert json.loads(json.dumps(report.as_dict()))["estimate"]["seconds"] == report.estimate.seconds
    report = quantize_model(*files, search=SearchConfig(auto=True), dry_run=True)
    assert report.estimate.seconds is None, "a search takes what its budget says"
    assert not (tmp_path / "out_quantized.tnnmodel").exists()


@pytest.mark.parametrize("recipe", ["tnn", "fast", "best"])
def test_other_recipes_by_what_a_run_took(recipe):
    """A run that takes what is expected of it lets the others be expected to take what is expected of them."""
    config = QuantizeConfig(recipe=recipe)
    spent = 2 * sum(stages_of(config, WORK, Pictures.of(recipe, 64, 100)).values())
    found = seconds_of_others(config, WORK, spent, 64, 100)
    assert list(found) == {"tnn": ["fast", "best"], "fast": ["best"], "best": []}[recipe]
    for name, seconds in found.items():
        wanted = stages_of(replace(config, recipe=name), WORK, Pictures.of(name, 64, 100))
        assert seconds == pytest.approx(2 * sum(wanted.values()))


def test_other_recipes_by_the_statistics_of_the_default():
    """However long the weights took: their methods differ by much."""
    config = QuantizeConfig(blob_method="kl", weight_method="admm")
    stages = stages_of(config, WORK, Pictures.of("tnn", 64))
    statistics = 3 * (stages["ranges"] + stages["histograms"])
    found = seconds_of_others(config, WORK, 1000.0, 64, 0, statistics)
    wanted = stages_of(QuantizeConfig(recipe="best"), WORK, Pictures.of("best", 64))
    assert found["best"] == pytest.approx(3 * sum(wanted.values()))


def test_a_trial_of_a_search():
    stages = stages_of(QuantizeConfig(), WORK, Pictures.of("tnn", 1000))
    found = seconds_of_trial(QuantizeConfig(recipe="fast"), WORK, 2 * stages["ranges"], 1000)
    wanted = stages_of(QuantizeConfig(recipe="fast"), WORK, Pictures.of("fast", 1000))
    assert found == pytest.approx(2 * sum(wanted.values()), rel=0.05)
    assert seconds_of_trial(QuantizeConfig(recipe="dynamic"), WORK, 1.0, 10) is None


def test_others_of_a_recipe_that_is_not_counted():
    assert seconds_of_others(QuantizeConfig(recipe="dynamic"), WORK, 5.0, 8) == {}


def test_compiling_is_no_part_of_a_stage(monkeypatch):
    from tnnquant.kernels import jit
    from tnnquant.quantization.quantize import Stopwatch

    compiled = iter([0.0, 500.0])
    monkeypatch.setattr(jit, "compiling_seconds", lambda: next(compiled))
    clock = Stopwatch()
    clock.lap("stage")
    assert -500.5 < clock.laps["stage"] < -499
