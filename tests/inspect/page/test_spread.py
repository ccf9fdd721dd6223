"""Labels side by side."""

from itertools import pairwise

import pytest

from tnnquant.inspect.page.spread import grouped, spread


@pytest.mark.parametrize("places", [[50.0] * 8, [0, 1, 2, 3], [97, 98, 99, 100], [0, 0, 50, 100, 100], [42.0], []])
def test_no_label_lies_on_another_or_beyond_the_ends(places):
    found = spread(places, [10] * len(places), 0, 100)
    assert all(b - a >= 10 - 1e-9 for a, b in pairwise(found))
    assert all(5 - 1e-9 <= place <= 95 + 1e-9 for place in found)


def test_a_label_with_room_stays_where_it_is():
    assert spread([20, 60], [10, 10], 0, 100) == [20, 60]


def test_what_is_at_one_place_shares_a_label():
    assert grouped([5, 5.5, 90], "abc", 2) == [(5.25, "ab"), (90, "c")]
