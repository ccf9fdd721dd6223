"""What the summary advises at the end of a run."""

from __future__ import annotations

import pytest

from tnnquant import quantize_model
from tnnquant.config import QuantizeConfig, SearchConfig
from tnnquant.pipeline.report import Report
from tnnquant.pipeline.settings import settings
from tnnquant.pipeline.summary import summary_rows
from tnnquant.verdict import BROKEN, DOUBTFUL, GOOD, SetVerdict, Verdict
from tnnquant.verdict.result import Check

DEFAULT = QuantizeConfig().recipe


def advice(recipe, status, **values):
    """The rows with the advice after a run of 10 seconds."""
    found = SetVerdict(status, 16, "16 pictures", False)
    report = Report(
        "a", "b", 100, 30, samples=16, settings={**settings(QuantizeConfig(recipe=recipe)), "recipe": recipe},
        verdict=Verdict(status, [found]), seconds={"total": 10.0}, **values,
    )  # fmt: skip
    return [text for name, text in summary_rows(report) if name == "advice"]


@pytest.mark.parametrize("status", [GOOD, DOUBTFUL, BROKEN])
def test_the_default_tells_what_better_recipes_take(status):
    (text,) = advice(DEFAULT, status, others={"fast": 19.6, "best": 40.2})
    assert "recipe='fast' in about 20 s" in text
    assert "recipe='best' in about 40 s" in text


def test_a_better_recipe_is_told_where_the_model_is_not_good():
    assert advice("fast", DOUBTFUL, others={"best": 20.0}) == [
        "closer to fp32: recipe='best' in about 20 s (estimated from this run)"
    ]
    assert advice("fast", GOOD, others={"best": 20.0}) == []
    assert advice("best", BROKEN) == []


def test_a_verdict_says_what_it_holds_for():
    found = SetVerdict(GOOD, 16, "16 pictures", False)
    report = Report("a", "b", 1, samples=16, settings=settings(QuantizeConfig()), verdict=Verdict(GOOD, [found]))
    assert ("", "it holds for pictures like these, not for other kinds") in list(summary_rows(report))


def test_a_verdict_says_each_thing_once():
    """What holds for two sets of pictures is said with the first."""
    fed = Check(DOUBTFUL, "pixels are fed as 0..255", "data")
    sets = [
        SetVerdict(DOUBTFUL, 10, "10 pictures", False, limits=[fed], notes=["few"]),
        SetVerdict(DOUBTFUL, 5, "5 pictures", True, limits=[fed, Check(DOUBTFUL, "other", "data")], notes=["few"]),
    ]
    report = Report("a", "b", 1, samples=10, settings=settings(QuantizeConfig()), verdict=Verdict(DOUBTFUL, sets))
    rows = [text for _, text in summary_rows(report)]
    assert rows.count("doubtful: data - pixels are fed as 0..255") == 1
    assert rows.count("doubtful: data - other") == 1
    assert rows.count("note: few") == 1
    assert rows.index("note: few") < rows.index("doubtful on 5 pictures")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({}, ["fast", "best"]), ({"recipe": "fast"}, ["best"]), ({"recipe": "best"}, []), ({"recipe": "dynamic"}, [])],
)
def test_other_recipes_are_estimated_from_the_run(options, wanted, inspected_files, pictures, tmp_path):
    files = f"{inspected_files}.tnnproto", f"{inspected_files}.tnnmodel"
    config = QuantizeConfig(mean=(127.5,), scale=(1 / 127.5,), **options)
    report = quantize_model(*files, pictures, tmp_path / "out", config)
    assert list(report.others) == wanted
    assert all(seconds > 0 for seconds in report.others.values())


def test_a_search_and_a_dry_run_estimate_none(inspected_files, pictures, tmp_path):
    files = f"{inspected_files}.tnnproto", f"{inspected_files}.tnnmodel"
    assert quantize_model(*files, pictures, tmp_path / "out", QuantizeConfig(), dry_run=True).others == {}
    search = SearchConfig(target_agreement=0.1)
    assert quantize_model(*files, pictures, tmp_path / "out", QuantizeConfig(), search=search).others == {}
