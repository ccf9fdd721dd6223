"""Pictures are chosen by content."""

import pytest

from tnnquant.inputs.choose import pick, split

DIGESTS = [f"{(7 * i) % 20:02x}" for i in range(20)]


def contents(numbers, digests):
    return sorted(digests[n] for n in numbers)


def test_the_same_contents_whatever_the_order():
    assert contents(pick(DIGESTS, 5), DIGESTS) == ["00", "01", "02", "03", "04"]
    assert contents(pick(DIGESTS[::-1], 5), DIGESTS[::-1]) == ["00", "01", "02", "03", "04"]
    assert pick(DIGESTS, 5) == sorted(pick(DIGESTS, 5))
    assert len(pick(DIGESTS, 100)) == 20


def test_split_holds_out_a_share():
    kept, held = split(DIGESTS, 0.2)
    assert contents(held, DIGESTS) == ["00", "01", "02", "03"]
    assert sorted(kept + held) == list(range(20))
    assert split(DIGESTS, 0)[1] == []


def test_copies_stay_together_and_count_once():
    digests = ["a", "b", "a", "c", "b"]
    assert pick(digests, 3) == [0, 1, 3]
    kept, held = split(digests, 0.2)
    assert (kept, held) == ([1, 3, 4], [0, 2])
    assert pick(digests, 3, held) == [0]


@pytest.mark.parametrize("digests", [["a"], ["a"] * 9])
def test_nothing_is_held_out_of_a_single_picture(digests):
    assert split(digests, 0.5) == (list(range(len(digests))), [])


def test_some_pictures_always_remain():
    assert split(["a", "b"], 0.9) == ([1], [0])
