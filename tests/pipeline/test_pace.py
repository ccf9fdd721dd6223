"""What a bar is told of the seconds that are left."""

import pytest

from tnnquant.base.progress import expect
from tnnquant.config import QuantizeConfig
from tnnquant.pipeline import pace
from tnnquant.pipeline.duration import Work, stages_of
from tnnquant.verdict.verify import SECOND


class Bar:
    def __init__(self):
        self.seconds, self.stages = [], []

    def left(self, seconds):
        self.seconds.append(seconds)

    def __call__(self, stage, done, total):
        self.stages.append((stage, done, total))


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pace, "working_seconds", lambda: now[0])
    return now


def begun(monkeypatch, costs):
    bar = Bar()
    told = pace.paced(bar, QuantizeConfig(), 64, (16, 32))
    monkeypatch.setattr(pace, "work_of", lambda executor, plan: None)
    monkeypatch.setattr(pace, "stages_of", lambda *given: costs)
    expect(told, None, None)
    return bar, told


def test_the_rest_is_counted_at_the_speed_of_what_is_done(clock, monkeypatch):
    bar, told = begun(monkeypatch, {"ranges": 60.0, "weights": 20.0, "verdict": 20.0})
    told("ranges", 1, 60)
    assert not bar.seconds, "of too little nothing is said"
    for done in range(2, 61):
        clock[0] += 0.5
        told("ranges", done, 60)
    assert bar.seconds[-1] == pytest.approx(0.5 * 40, rel=0.05)
    assert bar.seconds[-1] < bar.seconds[-20] < bar.seconds[-40]
    assert bar.stages[-1] == ("ranges", 60, 60)


def test_a_stage_like_one_before_takes_its_speed(clock, monkeypatch):
    bar, told = begun(monkeypatch, {"ranges": 50.0, "weights, trial": 50.0, "weights": 50.0})
    for done in range(1, 51):
        clock[0] += 0.1
        told("ranges", done, 50)
    told("weights, trial", 0, 10)
    for done in range(1, 11):
        clock[0] += 4.0
        told("weights, trial", done, 10)
    assert bar.seconds[-1] == pytest.approx(40.0, rel=0.02)


def test_what_is_begun_once_more_does_not_count(clock, monkeypatch):
    bar, told = begun(monkeypatch, {"ranges": 50.0, "weights": 50.0})
    for done in (*range(1, 40), *range(1, 51)):
        clock[0] += 0.2
        told("ranges", done, 50)
    assert bar.seconds[-1] == pytest.approx(10.0, rel=0.05)


def test_threads_tell_of_their_steps_in_any_order(clock, monkeypatch):
    bar, told = begun(monkeypatch, {"fp32 layers": 50.0, "weights": 50.0})
    for done in range(1, 51):
        clock[0] += 0.2
        told("fp32 layers", done + (-1) ** done, 51)
    assert bar.seconds[-1] == pytest.approx(10.0, rel=0.1)


def test_what_nobody_counted_is_handed_on(clock, monkeypatch):
    bar, told = begun(monkeypatch, {"ranges": 1.0})
    told("quantizing", 1, 0)
    told("another", 1, 2)
    assert (bar.stages, bar.seconds) == ([("quantizing", 1, 0), ("another", 1, 2)], [])


def test_other_callables_are_not_asked():
    def told(stage, done, total):
        pass

    assert pace.paced(told, QuantizeConfig(), 8, (0, 0)) is told
    assert pace.paced(None, QuantizeConfig(), 8, (0, 0)) is None
    expect(told, None, None)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (QuantizeConfig(), ["ranges", "weights"]),
        (QuantizeConfig(blob_method="kl"), ["ranges", "histograms", "weights"]),
        (QuantizeConfig(recipe="fast"), ["reading", "ranges", "scales", "weights"]),
        (
            QuantizeConfig(recipe="best"),
            ["reading", "ranges", "scales", "fp32 layers", "weights, trial", "ranges, others", "weights"],
        ),
    ],
)
def test_the_stages_of_a_recipe(config, names):
    work = Work(4.8, 7.0, 5.0)
    few, many = (stages_of(config, work, count, (4, count // 2)) for count in (8, 16))
    assert list(few) == [*names, "verdict", SECOND]
    assert all(many[name] >= few[name] > 0 for name in few)
    assert stages_of(config, work, 8, (4, 4), 100)["verdict"] > few["verdict"]


def test_the_stages_of_an_unknown_recipe():
    assert stages_of(QuantizeConfig(recipe="dynamic"), Work(1, 1, 1), 8, (0, 0)) == {}


@pytest.mark.parametrize("recipe", ["tnn", "fast", "best"])
def test_the_stages_are_those_that_a_run_tells_of(recipe, build, tmp_path, monkeypatch):
    import numpy as np

    from tnnquant import quantize_model
    from tnnquant.format import write_model

    net = build((1, 3, 12, 10))
    write_model(net.graph(net.conv(net.conv("input", 3, 8), 8, 4)), tmp_path / "n.tnnproto", tmp_path / "n.tnnmodel")
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(7)
    for number in range(12):
        np.save(tmp_path / "in" / f"{number}.npy", rng.standard_normal((1, 3, 12, 10), np.float32))
    bar, counted = Bar(), []
    original = pace.stages_of
    monkeypatch.setattr(pace, "stages_of", lambda *given: counted.append(original(*given)) or counted[-1])
    files = tmp_path / "n.tnnproto", tmp_path / "n.tnnmodel", tmp_path / "in", tmp_path / "out"
    quantize_model(*files, QuantizeConfig(recipe=recipe), progress=bar)
    assert {stage for stage, *_ in bar.stages} <= set(counted[0])
    assert bar.seconds
    assert all(seconds >= 0 for seconds in bar.seconds)
