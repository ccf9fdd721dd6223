"""Pictures that are no test of a classifier, labels by which fp32 is wrong, and sets that are too small."""

from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant.verdict.compare import Comparison
from tnnquant.verdict.kinds import CLASSES, VALUES, OutputKind
from tnnquant.verdict.result import GOOD, Check, SetVerdict
from tnnquant.verdict.verify import _limited, _with_label_finding

CLASS_COUNT = 12


def compared(rows):
    """A comparison of an int8 model that gives what fp32 does, (pictures, classes)."""
    rows = np.asarray(rows, np.float32)
    seen = Comparison([OutputKind("out", CLASSES, 0, rows.shape[1])])
    for number, row in enumerate(rows):
        sample = SimpleNamespace(fresh=1, name=f"{number}.png", numbers=(number,))
        seen.add(sample, {"out": row[None]}, {"out": row[None]})
    return seen


def peaked(classes, height=0.9, count=CLASS_COUNT):
    """Probabilities with a peak at the class of each picture."""
    scores = np.full((len(classes), count), (1 - height) / (count - 1))
    scores[np.arange(len(classes)), classes] = height
    return scores


@pytest.mark.parametrize(
    ("classes", "status"),
    [
        ([3] * 8 + [5] * 2, "doubtful"),
        ([3] * 7 + [5, 6, 7], "good"),
        ([3] * 6 + [4], "good"),  # fewer than 8 pictures say nothing of the kind
        (list(range(10)), "good"),
    ],
)
def test_pictures_of_one_class_are_no_test(classes, status):
    verdict = compared(peaked(classes)).verdict("these", held_out=True)
    assert verdict.status == status
    if status == "doubtful":
        (limit,) = verdict.limits
        assert limit.text.startswith("fp32 sees class 3 in 8 of 10 pictures")
        assert "check mean, scale, reverse_channel and the pictures" in limit.text


def test_probabilities_that_hardly_differ_are_no_test():
    scores = peaked(list(range(10)), height=0.2)
    verdict = compared(scores).verdict("these", held_out=True)
    unit = scores / np.linalg.norm(scores, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[np.triu_indices(10, 1)]
    assert verdict.status == "doubtful"
    assert f"mean cosine of two pictures {pairs.mean():.2f}" in verdict.limits[0].text
    # Scores that are no probabilities have a part in common that means nothing.
    assert compared(scores + 1).verdict("these", held_out=True).status == "good"


def test_two_classes_are_often_one():
    assert compared(peaked([0] * 10, count=2) + 0.01 * np.eye(10, 2)).verdict("these", held_out=True).status == "good"


@pytest.mark.parametrize("are_guessed", [False, True])
def test_fp32_that_is_wrong_by_the_labels_is_told(are_guessed):
    labels = {number: (number + 1) % CLASS_COUNT for number in range(10)}
    verdict = compared(peaked(list(range(10)))).verdict("these", held_out=True, labels=labels)
    told = _with_label_finding(verdict, are_guessed=are_guessed, shows_top1=True)
    assert "fp32 is right on 0.0 % of 10 pictures: check mean, scale, reverse_channel" in told.notes[0]
    # Top-1 by labels that are given is shown all the same.
    assert (told.labels is None) == are_guessed
    right = {number: number for number in range(10)}
    verdict = compared(peaked(list(range(10)))).verdict("these", held_out=True, labels=right)
    told = _with_label_finding(verdict, are_guessed=are_guessed, shows_top1=True)
    assert told.labels["top1_fp32"] == 1
    assert not told.notes
    assert _with_label_finding(verdict, are_guessed=True, shows_top1=False).labels is None


def test_limits_make_a_verdict_doubtful_and_its_own_on_the_number_counts():
    verdict = SetVerdict(GOOD, 7, "these", False)
    few, dark = Check("doubtful", "only 7", "pictures"), Check("doubtful", "dark", "input")
    limited = _limited(verdict, [few, dark])
    assert limited.status == "doubtful"
    assert limited.limits == [few, dark]
    own = SetVerdict(GOOD, 3, "these", False, limits=[Check("doubtful", "only 3", "pictures")])
    assert [check.text for check in _limited(own, [few, dark]).limits] == ["only 3", "dark"]
    assert _limited(verdict, []) == verdict
    assert _limited(SetVerdict("broken", 7, "these", False), [few]).status == "broken"


def test_a_model_of_fewer_pictures_is_judged_less_what_it_lacks(rng):
    """Half of the error beyond that on pictures of the statistics is left for twice the pictures."""
    kinds = [OutputKind("out", VALUES, -1, 1)]
    apart, own = Comparison(kinds), Comparison(kinds)
    for number in range(40):
        wanted, noise = rng.standard_normal((1, 50)), rng.standard_normal((1, 50))
        sample = SimpleNamespace(fresh=1, name=str(number), numbers=(number,))
        own.add(sample, {"out": wanted}, {"out": wanted + 0.1 * noise})
        apart.add(sample, {"out": wanted}, {"out": wanted + 0.3 * noise})
    mixed = apart.mixed(own, 0.5)
    energy = {seen: 10 ** (-seen.sums["out"].figures().sqnr_db / 10) for seen in (own, apart, mixed)}
    assert energy[mixed] == pytest.approx((energy[own] + energy[apart]) / 2)
    verdict = mixed.verdict("these", held_out=True)
    assert verdict.pictures == 40
    assert 12.5 < verdict.outputs[0].figures["contrast_db"] < 13.5
    for share, same in ((1.0, apart), (0.0, own)):
        figures = apart.mixed(own, share).sums["out"].figures()
        assert figures.cosine == pytest.approx(same.sums["out"].figures().cosine)
        assert apart.mixed(own, share).sums["out"].mean_cosine == pytest.approx(same.sums["out"].mean_cosine)


def test_the_picture_that_a_model_of_few_others_is_worst_on_does_not_count(rng):
    """Its values lie beyond the ranges of a model made without it; the one that is written was made with it."""
    kinds = [OutputKind("out", VALUES, 0, 2)]

    def seen(errors):
        found = Comparison(kinds)
        for number, (wanted, error) in enumerate(zip(pictures, errors, strict=True)):
            sample = SimpleNamespace(fresh=1, name=str(number), numbers=(number,))
            found.add(sample, {"out": wanted}, {"out": wanted * (1 - error)})
        return found

    pictures = [size * rng.standard_normal((2, 50)) for size in (1, 1, 8, 1, 1)]
    own = seen([0.01] * 5)
    assert seen([0.01, 0.01, 0.4, 0.01, 0.01]).verdict("these", held_out=True).status == "doubtful"
    one = seen([0.01, 0.01, 0.4, 0.01, 0.01]).mixed(own, 0.75)
    assert one.verdict("these", held_out=True).status == "good"
    assert one.sums["out"].figures().sqnr_db == pytest.approx(40, abs=1e-6)
    # Two of them are no chance, and what the written model is worse on counts.
    two = seen([0.4, 0.01, 0.4, 0.4, 0.01]).mixed(own, 0.75)
    assert two.sums["out"].figures().sqnr_db < 25
    assert seen([0.01, 0.01, 0.4, 0.01, 0.01]).mixed(seen([0.4] * 5), 0.75).sums["out"].figures().sqnr_db < 10
    # Of other pictures of the model's own, its error on them is taken.
    pictures = [rng.standard_normal((2, 50)) for _ in range(5)]
    others = seen([0.1] * 5)
    pictures = [size * rng.standard_normal((2, 50)) for size in (1, 1, 8, 1, 1)]
    mixed = seen([0.1, 0.1, 0.4, 0.1, 0.1]).mixed(others, 1.0)
    assert mixed.sums["out"].figures().sqnr_db == pytest.approx(20, abs=1e-6)
