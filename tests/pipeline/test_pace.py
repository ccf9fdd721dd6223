"""What a bar is told of the seconds that are left."""

import pytest

from tnnquant.base.progress import expect
from tnnquant.config import QuantizeConfig
from tnnquant.pipeline import pace
from tnnquant.pipeline.duration import Pictures
from tnnquant.pipeline.pace import Course

#: Seconds that one machine needs.
STAGES = {"ranges": 6.0, "scales": 1.0, "weights, trial": 4.0, "weights": 4.0, "verdict": 1.0}


class Bar:
    def __init__(self):
        self.seconds, self.stages = [], []

    def left(self, seconds):
        self.seconds.append(seconds)

    def __call__(self, stage, done, total):
        self.stages.append((stage, done, total))


def drive(course, took, steps=20, now=0.0):
    """What is said during stages that take so many seconds, and what is left then."""
    said, end = [], now + sum(took.values())
    for stage, seconds in took.items():
        for step in range(1, steps + 1):
            now += seconds / steps
            left = course.left(stage, step / steps, now)
            if left is not None:
                said.append((left, end - now))
    return said


def test_what_is_expected_is_said_where_it_comes_so():
    said = drive(Course(STAGES, 0.0), STAGES)
    assert len(said) > 90
    assert all(left == pytest.approx(rest, abs=1e-6) for left, rest in said)


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_another_machine_takes_so_many_times_as_long(factor):
    said = drive(Course(STAGES, 0.0), {stage: factor * seconds for stage, seconds in STAGES.items()})
    late = said[20:]
    assert all(left == pytest.approx(rest, rel=0.25, abs=0.3) for left, rest in late)


def test_of_too_little_nothing_is_said():
    course = Course(STAGES, 0.0)
    assert course.left("ranges", 0.02, 0.12) is None
    assert course.left("ranges", 0.10, 0.6) == pytest.approx(15.4)


def test_a_stage_like_one_before_takes_its_speed():
    course = Course(STAGES, 0.0)
    drive(course, {"ranges": 6.0, "scales": 1.0, "weights, trial": 12.0})
    assert course.left("weights", 0.0, 19.0) == pytest.approx(12 + 1, rel=0.2)


def test_a_stage_like_one_before_goes_as_that_went():
    course = Course({"weights, trial": 10.0, "weights": 10.0}, 0.0)
    for share, now in ((0.1, 5.0), (0.2, 9.0), (1.0, 10.0)):
        course.left("weights, trial", share, now)
    assert course.left("weights", 0.2, 19.0) == pytest.approx(1.0, abs=0.05)


def test_what_comes_before_the_first_step_is_not_like_the_steps():
    course = Course({"ranges": 10.0, "verdict": 10.0}, 0.0)
    course.left("ranges", 0.01, 6.0)
    for share in range(2, 51):
        left = course.left("ranges", share / 100, 6.0 + 0.1 * share)
    assert left == pytest.approx(5.0 + 10.0, rel=0.1)


def test_what_is_begun_once_more_does_not_count():
    course = Course({"ranges": 10.0, "verdict": 10.0}, 0.0)
    for step in range(1, 40):
        course.left("ranges", step / 50, 0.2 * step)
    for step in range(1, 51):
        left = course.left("ranges", step / 50, 7.8 + 0.2 * step)
    assert left == pytest.approx(10.0, rel=0.05)


def test_a_stage_that_is_left_out_is_not_waited_for():
    course = Course(STAGES, 0.0)
    drive(course, {"ranges": 6.0, "scales": 1.0})
    assert course.left("weights", 0.5, 9.0) == pytest.approx(3.0, rel=0.1)


def test_threads_tell_of_their_steps_in_any_order():
    course = Course({"fp32 layers": 10.0, "weights": 10.0}, 0.0)
    for done in range(1, 51):
        left = course.left("fp32 layers", (done + (-1) ** done) / 51, 0.2 * done)
    assert left == pytest.approx(10.0, rel=0.1)


def begun(monkeypatch, costs):
    bar = Bar()
    told = pace.paced(bar, QuantizeConfig(), Pictures(64, 16, 32))
    now = [100.0]
    monkeypatch.setattr(pace, "working_seconds", lambda: now[0])
    monkeypatch.setattr(pace, "work_of", lambda executor, plan: None)
    monkeypatch.setattr(pace, "stages_of", lambda *given: costs)
    expect(told, None, None)
    return bar, told, now


def test_a_bar_is_told(monkeypatch):
    bar, told, now = begun(monkeypatch, {"start": 5.0, "ranges": 6.0, "verdict": 4.0})
    for done in range(1, 61):
        now[0] += 0.1
        told("ranges", done, 60)
    assert bar.seconds[-1] == pytest.approx(4.0), "what is before the first stage is over"
    assert bar.stages[-1] == ("ranges", 60, 60)


def test_what_nobody_counted_is_handed_on(monkeypatch):
    bar, told, _ = begun(monkeypatch, {"ranges": 1.0})
    told("quantizing", 1, 0)
    told("another", 1, 2)
    assert (bar.stages, bar.seconds) == ([("quantizing", 1, 0), ("another", 1, 2)], [])


def test_other_callables_are_not_asked():
    def told(stage, done, total):
        pass

    assert pace.paced(told, QuantizeConfig(), Pictures(8)) is told
    assert pace.paced(None, QuantizeConfig(), Pictures(8)) is None
    expect(told, None, None)


@pytest.mark.parametrize(
    "config",
    [
        QuantizeConfig(), QuantizeConfig(blob_method="kl"), QuantizeConfig(recipe="fast"),
        QuantizeConfig(recipe="fast", fp32_share=0), QuantizeConfig(recipe="best"),
        QuantizeConfig(recipe="best", fp32_share=0),
    ],
)  # fmt: skip
def test_the_stages_are_those_that_a_run_tells_of(config, build, tmp_path, monkeypatch):
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

    def counting(*given):
        counted.append(original(*given))
        return dict.fromkeys(counted[-1], 1.0)

    monkeypatch.setattr(pace, "stages_of", counting)
    files = tmp_path / "n.tnnproto", tmp_path / "n.tnnmodel", tmp_path / "in", tmp_path / "out"
    quantize_model(*files, config, progress=bar)
    expected = [stage for stage in counted[0] if stage not in ("start", "end")]
    told = list(dict.fromkeys(stage for stage, *_ in bar.stages))
    if config.recipe == "best":  # this network has no layer that is worth fp32: steps are tried one by one
        assert set(told) == set(expected)
    else:
        assert told == expected
    assert bar.seconds
    assert all(seconds >= 0 for seconds in bar.seconds)
