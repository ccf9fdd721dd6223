"""Thresholds: what is good, doubtful, broken."""

import numpy as np
import pytest

from tnnquant.verdict.agreement import Agreement
from tnnquant.verdict.figures import OutputSums
from tnnquant.verdict.judge import judge_output
from tnnquant.verdict.kinds import CLASSES, INTEGERS, VALUES, OutputKind, Part


def status(verdict):
    return [check.status for check in verdict.checks]


def classes(rng, agreeing, pictures, noise):
    sums = OutputSums(10)
    for _ in range(pictures):
        scores = rng.standard_normal((10, 1))
        sums.add(scores, scores + noise * rng.standard_normal((10, 1)))
    agreed = [1.0] * agreeing + [0.0] * (pictures - agreeing)
    return judge_output(OutputKind("prob", CLASSES, 0, 10), sums, Agreement(agreed))


@pytest.mark.parametrize(
    ("agreeing", "pictures", "noise", "expected"),
    [
        (16, 16, 0.02, ["good", "good"]),
        (15, 16, 0.02, ["good", "good"]),  # one of few may differ
        (13, 16, 0.5, ["doubtful", "doubtful"]),
        (4, 16, 2.0, ["broken", "broken"]),
        (4, 16, 0.02, ["doubtful", "good"]),  # ties: the scores have not moved
        (13, 16, 0.02, ["good", "good"]),  # and few of them are no doubt
        (0, 1, 0.02, ["doubtful", "good"]),  # a single picture proves nothing
        (890, 1000, 0.02, ["doubtful", "good"]),
        (900, 1000, 0.02, ["good", "good"]),
        (700, 1000, 0.5, ["broken", "doubtful"]),
    ],
)
def test_classes(rng, agreeing, pictures, noise, expected):
    assert status(classes(rng, agreeing, pictures, noise)) == expected


def test_thresholds_are_in_the_text(rng):
    texts = [check.text for check in classes(rng, 14, 16, 0.3).checks]
    assert texts[0].startswith("same top-1 as fp32 87.5 % of 16 (95 % interval 64..97 %; good from 90 %, or if one")
    assert texts[1].endswith("(good from 0.92, broken below 0.8)")


def detector(rng, score_factor, split=True):
    sums = OutputSums(6)
    for _ in range(8):
        boxes, scores = 300 * rng.random((4, 50)), rng.random((2, 50)) ** 8
        sums.add(np.vstack([boxes, scores]), np.vstack([boxes + rng.standard_normal((4, 50)), score_factor * scores]))
    parts = (Part("boxes", np.arange(4)), Part("scores", np.arange(4, 6))) if split else ()
    return judge_output(OutputKind("out", VALUES, 0, 6, parts), sums, Agreement())


@pytest.mark.parametrize("split", [True, False])
def test_scores_that_collapse_beside_boxes_are_broken(rng, split):
    verdict = detector(rng, 0.0, split)
    assert verdict.figures["cosine"] > 0.999
    assert status(verdict)[:3] == ["good"] * 3
    assert set(status(verdict)[3:]) == {"broken"}
    assert [row["pooled_cosine"] < 0.01 for row in verdict.rows] == [False] * 4 + [True] * 2
    assert status(detector(rng, 0.98, split)) == ["good"] * 6


def test_a_row_that_collapses_within_its_part_is_seen(rng):
    sums = OutputSums(8)
    for _ in range(8):
        x = rng.standard_normal((8, 200))
        y = x.copy()
        y[3] = 0
        x[4], y[4] = 1e-3 * x[4], 0  # too small to count
        sums.add(x, y)
    checks = judge_output(OutputKind("out", VALUES, 0, 8), sums, Agreement()).checks
    (row,) = [check for check in checks if "worst row" in check.text]
    assert row.status == "broken"
    assert "worst row 3: cosine 0.0000" in row.text


def test_whole_numbers_and_nan(rng):
    sums = OutputSums(1)
    sums.add(np.ones((1, 4)), np.ones((1, 4)))
    assert status(judge_output(OutputKind("best", INTEGERS, -1, 1), sums, Agreement([1.0] * 30))) == ["good"]
    sums.add(np.ones((1, 4)), np.full((1, 4), np.nan))
    assert status(judge_output(OutputKind("out", VALUES, -1, 1), sums, Agreement()))[0] == "broken"


@pytest.mark.parametrize(("pictures", "needed"), [(8, "94 %"), (12, "92 %"), (16, "90 %"), (24, "90 %")])
def test_fewer_pictures_must_agree_on_more(rng, pictures, needed):
    agreed, sums = Agreement(), OutputSums(20)
    for _ in range(pictures):
        wanted = 3 * rng.standard_normal(20)
        got = wanted + 0.1 * rng.standard_normal(20)
        agreed.add(1.0)
        agreed.add_scores(wanted, got, False)
        sums.add(wanted[:, None], got[:, None])
    check = judge_output(OutputKind("prob", CLASSES, 0, 20), sums, agreed).checks[0]
    assert agreed.known == pictures
    assert f"good from {needed}, " in check.text
