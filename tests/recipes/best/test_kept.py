"""Which samples are kept: by content, within bounds."""

from dataclasses import dataclass

import numpy as np
import pytest

from tnnquant.errors import CalibrationError
from tnnquant.recipes.best.kept import keep_samples


@dataclass
class Sample:
    name: str
    arrays: dict


def samples(rng, count=10, size=16):
    return [Sample(f"s{i}", {"input": rng.standard_normal(size).astype(np.float32)}) for i in range(count)]


def first_values(kept):
    return [float(sample.arrays["input"][0]) for sample in kept]


def test_neither_order_nor_names_matter(rng):
    data = samples(rng)
    renamed = [Sample(f"t{9 - i}", sample.arrays) for i, sample in enumerate(data)]
    for most in (10_000, 4 * 64, 64, 1):
        wanted = first_values(keep_samples(data, most))
        assert first_values(keep_samples(renamed[::-1], most)) == wanted
        assert len(wanted) == max(1, min(10, most // 64))


def test_what_is_kept_of_fewer_is_kept_of_all_or_replaced(rng):
    data = samples(rng, 40)
    few, many = (set(first_values(keep_samples(data[:count], 8 * 64))) for count in (20, 40))
    assert len(few) == len(many) == 8
    assert many - few <= set(first_values(data[20:]))


def test_arrays_are_copies(rng):
    data = samples(rng, 2)
    kept = keep_samples(data, 1000)
    before = first_values(kept)
    for sample in data:
        sample.arrays["input"][:] = 0
    assert first_values(kept) == before


def test_no_sample_is_an_error():
    with pytest.raises(CalibrationError, match="no sample"):
        keep_samples([], 100)


def test_what_can_be_made_again_is_not_copied():
    pixels = np.arange(12, dtype=np.uint8)

    @dataclass
    class Picture(Sample):
        numbers: tuple = (3,)

        def again(self):
            return {"input": pixels * np.float32(0.5)}

    (kept,) = keep_samples([Picture("p", {"input": pixels * np.float32(0.5)})], 1000)
    assert (kept.name, kept.numbers) == ("p", (3,))
    kept.arrays["input"][:] = 7  # of the receiver
    np.testing.assert_array_equal(kept.arrays["input"], pixels * np.float32(0.5))
