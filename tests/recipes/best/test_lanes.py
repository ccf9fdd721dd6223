"""Jobs side by side: results in order, the first error wins."""

import numba
import pytest

from tnnquant.recipes.best.lanes import in_lanes


class Adder:
    def twin(self):
        return Adder()

    def add(self, number):
        if number % 5 == 4:
            raise ValueError(number)
        return number + 1


@pytest.mark.parametrize("threads", [1, 2])
def test_results_are_in_order_and_the_first_error_is_raised(threads):
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(min(threads, before))
        assert in_lanes(Adder(), [0, 1, 2, 3], Adder.add) == [1, 2, 3, 4]
        with pytest.raises(ValueError, match=r"^4$"):
            in_lanes(Adder(), range(12), Adder.add)
    finally:
        numba.set_num_threads(before)
