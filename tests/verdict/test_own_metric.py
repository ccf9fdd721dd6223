"""What a metric of the user's own is given, and what the verdict makes of it."""

from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant.base.metric import Metric, as_metric
from tnnquant.errors import MetricError
from tnnquant.verdict.own_metric import GatheredOutputs, Goal, MetricScore


def sample(number, batch=1, fresh=None):
    fresh = batch if fresh is None else fresh
    numbers = tuple(range(number, number + fresh))
    return SimpleNamespace(arrays={"in": np.zeros((batch, 3, 2, 2))}, fresh=fresh, name=f"s{number}", numbers=numbers)


def test_outputs_are_put_together_along_the_pictures(rng):
    seen = []
    metric = as_metric(
        lambda outputs, references, labels, names: seen.append((outputs, references, labels, names)) or 1
    )
    gathered = GatheredOutputs(["maps", "count"])
    wanted = [{"maps": rng.random((2, 4, 3)), "count": np.arange(5)} for _ in range(2)]
    got = [{name: array + 1 for name, array in outputs.items()} for outputs in wanted]
    gathered.add(sample(0, 2), wanted[0], got[0])
    gathered.add(sample(2, 2, fresh=1), wanted[1], got[1])  # one to complete the batch
    score = gathered.score(Goal(metric), gathered.by_number({0: 7, 2: 9}), ["a", "b", "c"])
    assert (score.fp32, score.int8, score.drop, score.pictures) == (1, 1, 0, 3)
    (own, again, *_), (outputs, references, labels, names) = seen
    maps = np.concatenate([wanted[0]["maps"], wanted[1]["maps"][:1]])
    for array in (own["maps"], again["maps"], references["maps"]):
        np.testing.assert_array_equal(array, maps)
    np.testing.assert_array_equal(outputs["maps"], maps + 1)
    np.testing.assert_array_equal(outputs["count"], np.tile(np.arange(5), (2, 1)) + 1)  # no batch: one per sample
    np.testing.assert_array_equal(labels, [7, -1, 9])
    assert names == ["a", "b", "c"]


def test_dims_that_differ_and_labels_that_lack():
    gathered = GatheredOutputs(["boxes"])
    for number in range(2):
        outputs = {"boxes": np.ones((1, number + 1, 4))}
        gathered.add(sample(number), outputs, outputs)
    counts = as_metric(lambda outputs, references, labels: sum(len(x) for x in outputs["boxes"]))
    assert gathered.score(Goal(counts)).int8 == 3
    assert gathered.by_number({5: 1}) is None
    assert gathered.by_number(None) is None


def test_a_metric_may_change_what_it_is_given():
    gathered = GatheredOutputs(["out"])
    gathered.add(sample(0), {"out": np.array([[4.0]])}, {"out": np.array([[3.0]])})

    def spoiling(outputs, references, labels):
        outputs["out"] -= 1
        references["out"] *= 0
        return outputs["out"].sum()

    score = gathered.score(Goal(as_metric(spoiling)))
    assert (score.fp32, score.int8, score.drop) == (3, 2, 1)


def test_nan_in_int8_is_broken_and_a_failure_of_the_metric_is_one():
    gathered = GatheredOutputs(["out"])
    gathered.add(sample(0), {"out": np.array([[4.0]])}, {"out": np.array([[np.nan]])})
    score = gathered.score(Goal(as_metric(lambda outputs, references, labels: outputs["out"].sum())))
    assert (score.fp32, score.int8, score.drop, score.is_reached) == (4, None, None, False)
    assert score.check().status == "broken"
    assert "NaN or infinity in the outputs" in score.check().text
    gathered = GatheredOutputs(["out"])
    gathered.add(sample(0), {"out": np.array([[4.0]])}, {"out": np.array([[-4.0]])})
    with pytest.raises(MetricError, match="returned nan"):
        gathered.score(Goal(as_metric(lambda outputs, references, labels: np.nan if outputs["out"] < 0 else 1)))


@pytest.mark.parametrize(
    ("fp32", "drop", "pictures", "target", "status"),
    [
        (0.8, 0.039, 100, None, "good"),
        (0.8, 0.041, 100, None, "doubtful"),
        (0.8, 0.21, 100, None, "broken"),
        (0.8, 0.079, 10, None, "good"),  # one picture of ten
        (0.8, 0.021, 100, 0.02, "doubtful"),
        (0.8, 0.019, 100, 0.02, "good"),
        (0.8, 0.5, 100, 0.6, "good"),
        (0.8, 0.7, 100, 0.6, "broken"),
        (0.0, 5.0, 100, None, "good"),  # nothing to be relative to
        (0.0, 5.0, 100, 4.0, "doubtful"),
        (0.0, 3.0, 100, 4.0, "good"),
        (-2.0, 0.2, 100, None, "doubtful"),
        (0.5, -0.3, 100, 0.0, "good"),
    ],
)
def test_thresholds(fp32, drop, pictures, target, status):
    score = MetricScore("m", False, fp32, fp32 - drop, drop, pictures, target)
    assert score.check().status == status
    assert score.is_reached == (status == "good")
    metric = Metric("m", len, lower_is_better=True)
    assert metric.drop(fp32 + drop, fp32) == pytest.approx(drop)
