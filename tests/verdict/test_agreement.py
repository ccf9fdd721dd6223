"""Agreement counted, and expected of other pictures."""

import numpy as np
import pytest

from tnnquant.verdict import agreement
from tnnquant.verdict.agreement import Agreement


def gathered(rng, pictures, noise, classes=20, are_probabilities=False):
    """Agreement on pictures whose scores have noise of one size, and the scores of both."""
    found = Agreement()
    for _ in range(pictures):
        wanted = 2 * rng.standard_normal(classes)
        got = wanted + noise * rng.standard_normal(classes)
        if are_probabilities:
            wanted, got = (np.exp(x) / np.exp(x).sum() for x in (wanted, got))
        found.add(float(wanted.argmax() == got.argmax()))
        found.add_scores(wanted, got, are_probabilities)
    return found


@pytest.mark.parametrize("are_probabilities", [False, True])
def test_what_few_pictures_say_is_closer_to_what_many_say(rng, are_probabilities):
    true = gathered(rng, 20000, 0.4, are_probabilities=are_probabilities).counted
    few = [gathered(rng, 16, 0.4, are_probabilities=are_probabilities) for _ in range(60)]
    counted, expected = (np.array([getattr(one, which) for one in few]) for which in ("counted", "expected"))
    assert abs(expected.mean() - true) < 0.02
    assert np.square(expected - true).mean() < 0.35 * np.square(counted - true).mean()


def test_many_pictures_and_places_without_scores_are_counted(rng):
    many = gathered(rng, 100, 0.4)
    assert many.expected == many.counted
    places = Agreement([0.5, 1.0, 0.75, 0.75, 1.0])
    assert (places.count, places.counted, places.expected) == (5, 0.8, 0.8)
    assert Agreement().counted == 0
    few = gathered(rng, 3, 0.4)
    assert few.expected == few.counted


def test_scores_that_are_no_numbers_are_only_counted(rng):
    found = gathered(rng, 8, 0.1)
    found.add(0.0)
    found.add_scores(np.arange(20.0), np.full(20, np.nan), False)
    assert found.expected == found.counted


def test_pictures_that_do_not_count_alike(rng):
    good, bad = gathered(rng, 12, 0.01), gathered(rng, 12, 5.0)
    assert bad.mixed(good, 0.25).counted == pytest.approx(0.75 * good.counted + 0.25 * bad.counted)
    expected = [bad.mixed(good, share).expected for share in (0.0, 0.25, 0.5, 1.0)]
    assert expected == sorted(expected, reverse=True)


def test_pictures_that_both_models_were_judged_on_count_once(rng):
    found = gathered(rng, 12, 5.0).mixed(gathered(rng, 16, 0.01), 0.5)
    assert (found.count, len(found.shares)) == (12, 28)


def test_distances_of_more_pictures_tell_more(rng):
    """int8 is run on a few; how close the best classes of others are says what its noise does to them."""
    true = gathered(rng, 20000, 0.4).counted
    few, more = [gathered(rng, 8, 0.4) for _ in range(60)], [gathered(rng, 8, 0.4) for _ in range(60)]
    for found in more:
        for _ in range(40):
            found.add_wanted(2 * rng.standard_normal(20), False)
    assert {found.count for found in more} == {8}
    alone, known = (np.array([found.tried for found in which]) for which in (few, more))
    assert np.square(known - true).mean() < 0.5 * np.square(alone - true).mean()


def test_scores_that_do_not_change_stay():
    found = Agreement()
    for number in range(8):
        scores = np.array([1.0, 1.0, 0.0]) if number == 0 else np.array([0.0, number, 1.5])
        found.add(1.0)
        found.add_scores(scores, scores, False)
    assert (found.tried, found.expected) == (1.0, 1.0)


def test_trials_are_those_of_noise_drawn_by_chance(rng):
    found = Agreement()
    scores = rng.standard_normal((12, 3))
    for wanted in scores:
        found.add(1.0)
        found.add_scores(wanted, wanted + np.array([0.3, -0.3, 0.0]), False)  # of standard deviation 0.3
    drawn = scores + 0.3 * rng.standard_normal((20000, 12, 3))
    assert found.tried == pytest.approx((drawn.argmax(2) == scores.argmax(1)).mean(), abs=0.005)


def test_trials_of_many_classes_are_those_of_exponential_gaps(rng):
    """Of pictures whose gaps are exponential, many of them, the trials are what noise drawn by chance does."""
    gaps = rng.exponential(size=(400, 40)) / np.arange(1, 41)
    scores = -np.cumsum(gaps, axis=1)
    found = Agreement()
    for number in range(99):
        error = np.zeros(40)
        error[:10] = np.tile([1.0, -1.0], 5)
        error *= 0.15 / np.std(error[:10], ddof=1)
        found.add(1.0)
        found.add_scores(scores[number], scores[number] + error, False)
    for other in scores[99:]:
        found.add_wanted(other, False)
    drawn = scores + 0.15 * rng.standard_normal((300, 400, 40))
    assert found.tried == pytest.approx((drawn.argmax(2) == 0).mean(), abs=0.02)


@pytest.mark.parametrize("shape", [1.0, 0.8])
def test_few_pictures_of_many_classes_tell_more_by_wider_noise(rng, shape):
    """Where gaps are exponential, and where small ones are more frequent, few pictures tell more."""
    errors = []
    for _ in range(60):
        gaps = np.concatenate([rng.weibull(shape, (16, 1)), rng.exponential(size=(16, 39)) / np.arange(2, 41)], axis=1)
        margins = np.cumsum(gaps, axis=1)[:, :5]
        errors.append([tries(margins, 0.15) for tries in (agreement._stays, agreement._expected_stays)])
    gaps = np.concatenate([rng.weibull(shape, (4000, 1)), rng.exponential(size=(4000, 39)) / np.arange(2, 41)], axis=1)
    true = agreement._stays(np.cumsum(gaps, axis=1)[:, :5], 0.15)
    alone, wider = np.sqrt(np.square(np.array(errors) - true).mean(axis=0))
    assert wider < 0.8 * alone
