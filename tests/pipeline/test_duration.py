"""How long a run will take: what is counted, and what is timed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.inputs import Samples, scan
from tnnquant.pipeline.duration import (
    TIMED,
    Timing,
    Work,
    expected_seconds,
    seconds_of_others,
    time_pictures,
    work_of,
)
from tnnquant.quantization.quantize import plan_graph


@pytest.fixture
def planned(build):
    net = build((1, 3, 12, 10))
    graph = net.graph(net.conv(net.conv("input", 3, 8, name="a"), 8, 4, 1, name="b"))
    return plan_graph(graph, QuantizeConfig(device="naive"))


def test_the_work_of_a_model(planned):
    executor, plan = planned
    work = work_of(executor, plan)
    pixels = 12 * 10
    assert work.values == pytest.approx(pixels * (3 + 8 + 4) / 1e6)
    assert work.scales == pytest.approx((3 + 8 + 4) / 1e3)
    windows = min(2048, 24 * pixels) / 4
    wanted = 27**2 * (windows + 6 * 8 + 27 / 2) + 8**2 * (windows + 6 * 4 + 8 / 2)
    assert work.rounding == pytest.approx(wanted / 1e9)


def test_more_pictures_take_longer_and_a_faster_machine_less():
    work = Work(4.8, 7.0, 5.0)
    for recipe in ("tnn", "fast", "best"):
        config = QuantizeConfig(recipe=recipe)
        few, many = (expected_seconds(config, work, Timing(0.02), count) for count in (8, 64))
        assert few < many
        assert expected_seconds(config, work, Timing(0.01), 64) < many
        assert expected_seconds(config, work, Timing(0.02), 64, 400) > many
    fast = QuantizeConfig(recipe="fast")
    most, more = (expected_seconds(fast, work, Timing(0.02), count) for count in (24, 1000))
    assert most == more, "it looks at 24"


def test_other_programs_delay_the_start_too():
    config, work = QuantizeConfig(), Work(4.8, 7.0, 5.0)
    alone, beside = (expected_seconds(config, work, Timing(0.02, waiting), 8) for waiting in (1.0, 3.0))
    assert beside - alone == pytest.approx(2 * 1.1)


def test_better_methods_take_longer():
    work = Work(4.8, 7.0, 5.0)
    configs = (
        QuantizeConfig(), QuantizeConfig(blob_method="kl", weight_method="admm"), QuantizeConfig(recipe="best"),
    )  # fmt: skip
    found = [expected_seconds(config, work, Timing(0.02), 64) for config in configs]
    assert found == sorted(found)


def test_of_an_unknown_recipe_nothing_is_said():
    assert expected_seconds(QuantizeConfig(recipe="dynamic"), Work(1, 1, 1), Timing(0.1), 8) is None


def test_a_few_pictures_are_timed_and_looked_at_once_more(planned, tmp_path, monkeypatch):
    executor, plan = planned
    for number in range(10):
        np.save(tmp_path / f"{number}.npy", np.full((1, 3, 12, 10), number, np.float32))
    samples = Samples(scan(tmp_path), executor.graph.inputs)
    seen = []
    monkeypatch.setattr("tnnquant.pipeline.duration.calibrate", lambda executor, few, observers: seen.append(len(few)))
    assert time_pictures(executor, plan, samples).seconds >= 0
    assert seen == [TIMED, TIMED]
    monkeypatch.undo()
    timing = time_pictures(executor, replace(plan), samples.subset([1, 2]))
    assert timing.seconds > 0
    assert timing.waiting >= 1


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
    work, config = Work(2.0, 1.0, 0.5), QuantizeConfig(recipe=recipe)
    # The start of the process, all that min-max takes at any rate, is not seen by the run itself.
    start = expected_seconds(QuantizeConfig(), work, Timing(0.0), 64)
    spent = expected_seconds(config, work, Timing(0.05), 64, 100) - start
    found = seconds_of_others(config, work, spent, 64, 100)
    assert list(found) == {"tnn": ["fast", "best"], "fast": ["best"], "best": []}[recipe]
    for name, seconds in found.items():
        wanted = expected_seconds(replace(config, recipe=name), work, Timing(0.05), 64, 100)
        assert seconds == pytest.approx(wanted)


def test_others_of_a_recipe_that_is_not_counted():
    assert seconds_of_others(QuantizeConfig(recipe="dynamic"), Work(1, 1, 1), 5.0, 8) == {}


def test_compiling_is_no_part_of_a_stage(monkeypatch):
    from tnnquant.kernels import jit
    from tnnquant.quantization.quantize import Stopwatch

    compiled = iter([0.0, 500.0])
    monkeypatch.setattr(jit, "compiling_seconds", lambda: next(compiled))
    clock = Stopwatch()
    clock.lap("stage")
    assert -500.5 < clock.laps["stage"] < -499
