"""Pictures that are no test: fp32 is unsure of them, they are fed or made in a way that no classifier is."""

import numpy as np
import pytest

from tnnquant.inputs import InputConfig
from tnnquant.inputs.normalize import PictureInput
from tnnquant.verdict.kinds import CLASSES, OutputKind
from tnnquant.verdict.pictures import SeenClasses, nothing_found, poor_pixels, unusual_feed


def seen(logits, *, are_probabilities=False):
    logits = np.asarray(logits, np.float64)
    found = SeenClasses(OutputKind("out", CLASSES, 0, logits.shape[1]))
    for row in logits:
        scores = np.exp(row - row.max())
        found.add(scores / scores.sum() if are_probabilities else row)
    return found.check()


def logits(rng, pictures, height, classes=200):
    rows = rng.standard_normal((pictures, classes))
    rows[np.arange(pictures), np.arange(pictures)] += height
    return rows


@pytest.mark.parametrize("are_probabilities", [False, True])
def test_fp32_that_is_unsure(rng, are_probabilities):
    assert seen(logits(rng, 16, 12), are_probabilities=are_probabilities) is None
    check = seen(logits(rng, 16, 5), are_probabilities=are_probabilities)
    assert check.status == "doubtful"
    assert check.text.startswith("fp32 is unsure of these pictures: its best class has a probability of 0.")
    assert "check mean, scale, reverse_channel and the pictures" in check.text
    assert seen(logits(rng, 7, 5), are_probabilities=are_probabilities) is None  # too few to say so


def test_similarities_and_few_classes_say_nothing(rng):
    assert seen(0.1 * logits(rng, 16, 5)) is None
    assert seen(logits(rng, 9, 1, classes=9)) is None
    assert seen(logits(rng, 16, 4.5, classes=40)) is None


def test_crops_of_two_pictures_are_alike(rng):
    rows = rng.standard_normal((24, 200))
    rows[:12, 3] += 12
    rows[12:, 50] += 12
    assert "gives nearly the same output for all of them" in seen(rows).text
    assert "fp32 sees class 3 in 12 of 12 pictures" in seen(rows[:12]).text


def feed(mean, scale, channels=3):
    return PictureInput((1, channels, 8, 8), InputConfig(mean=mean, scale=scale))


USUAL = [
    ((0.0,), (1 / 255,)), ((127.5,), (1 / 127.5,)), ((127.0,), (0.0078125,)), ((128.0,), (1 / 128,)),
    ((104.006, 116.669, 122.679), (1.0,)), ((123.68, 116.78, 103.94), (0.017,)),
    ((123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)),
]  # fmt: skip


@pytest.mark.parametrize(("mean", "scale"), USUAL)
def test_usual_ways_to_feed_photographs(mean, scale):
    assert unusual_feed("in", feed(mean, scale), 1000, is_normalized_inside=False) is None


@pytest.mark.parametrize(
    ("mean", "scale"),
    [
        ((0.0,), (1.0,)),
        ((104.006, 116.669, 122.679), (0.5,)),
        ((52.0, 58.0, 61.0), (1.0,)),
        ((127.0,), (0.00390625,)),
        ((0.0,), (0.0078125,)),
        ((127.5,), (1.0, 1.0, 0.1)),
    ],
)
def test_unusual_ways(mean, scale):
    check = unusual_feed("in", feed(mean, scale), 1000, is_normalized_inside=False)
    assert (check.status, check.where) == ("doubtful", "in")
    assert "pixels are fed as" in check.text
    # Digits, faces: there is no usual way; and a model may do it itself.
    assert unusual_feed("in", feed(mean, scale), 10, is_normalized_inside=False) is None
    assert unusual_feed("in", feed(mean, scale), 1000, is_normalized_inside=True) is None


def fed(low, high, mean=(90.0, 100.0, 110.0), shift=0.0, scale=1.0, items=16):
    def values(pixels):
        return [(pixel - shift) * scale for pixel in pixels]

    return {"items": items, "lowest": values([low] * 3), "mean": values(mean), "highest": values([high] * 3)}


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (127.5, 1 / 127.5), (100.0, -0.5)])
def test_dark_pale_and_grey_pictures(shift, scale):
    picture = feed((shift,), (scale,))

    def told(*args, **more):
        return poor_pixels("in", picture, fed(*args, shift=shift, scale=scale, **more), 1000)

    assert told(0, 255) is None
    assert "lie in 0..70 of 0..255" in told(0, 70).text
    assert told(0, 70, items=7) is None
    assert "all pictures are grey" in told(0, 255, mean=(100.0,) * 3).text
    assert poor_pixels("in", picture, fed(0, 255, (100.0,) * 3, shift, scale), 10) is None
    assert poor_pixels("in", picture, {}, 1000) is None


@pytest.mark.parametrize(("peak", "count", "is_told"), [(0.04, 8, True), (0.04, 7, False), (0.2, 16, False)])
def test_a_detector_that_finds_nothing(peak, count, is_told):
    check = nothing_found("scores", peak, count)
    assert (check is not None) is is_told
    if check:
        assert (check.status, check.where) == ("doubtful", "scores")
        assert check.text.startswith("fp32 finds nothing in 8 pictures (no score above 0.04)")
