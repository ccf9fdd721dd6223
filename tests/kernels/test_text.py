"""Decimal text to float32: the nearest one, as Python's float and a final rounding give."""

import numpy as np
import pytest

from tnnquant.kernels.text import POWERS_OF_TEN, parse_f32


def parse(text, size):
    out, unsure, info = np.full(size, 7, np.float32), np.zeros((size, 2), np.int64), np.zeros(3, np.int64)
    parse_f32(np.frombuffer(text, np.uint8), POWERS_OF_TEN, out, unsure, info)
    count, bad, left = info.tolist()
    return out, count, bad, unsure[:left].tolist()


@pytest.mark.parametrize("form", ["%.6f", "%.9g", "%.18e", "%r", "%.0f", "%+.3E"])
def test_numbers_equal_float_and_rounding(rng, form):
    values = rng.standard_normal(3000) * 10.0 ** rng.integers(-30, 30, 3000)
    text = "\n".join(form % float(value) for value in values).encode()
    out, count, bad, unsure = parse(text, 3000)
    want = np.array([float(token) for token in text.split()]).astype(np.float32)
    certain = np.setdiff1d(np.arange(3000), [place for place, _ in unsure])
    assert (count, bad) == (3000, -1)
    assert len(certain) > 2900
    np.testing.assert_array_equal(out[certain], want[certain])


def test_forms_of_numbers():
    out, count, bad, unsure = parse(b" 1 -2 +3 .5 5. 1e2 1E-2 -1.5e+1 0 -0 007 0.000 \r\n\t2e0\v4\f", 14)
    np.testing.assert_array_equal(out, np.float32([1, -2, 3, 0.5, 5, 100, 0.01, -15, 0, 0, 7, 0, 2, 4]))
    assert np.signbit(out[9])
    assert (count, bad, unsure) == (14, -1, [])


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (b"1 x", 2), (b"1 2,3", 2), (b"nan", 0), (b"1 -inf", 2), (b"0x10", 0), (b"1_0", 0), (b"1 .", 2), (b"1 e5", 2),
        (b"1 2e", 2), (b"2e+", 0), (b"1..2", 0), (b"-", 0), (b"--1", 0), (b"1-", 0), (b"1\x002", 0),
        (b"\xef\xbb\xbf1", 0), (b"1 1.2.3", 2),
    ],
)  # fmt: skip
def test_the_first_token_that_is_no_number_is_found(text, start):
    assert parse(text, 9)[2] == start


def test_more_numbers_than_room_are_counted_only():
    out, count, bad, _ = parse(b"1 2 3 4 5", 3)
    np.testing.assert_array_equal(out, np.float32([1, 2, 3]))
    assert (count, bad) == (5, -1)


def test_hard_numbers_are_left_to_the_caller():
    # The middle between two float32; beyond float32; below its normal range.
    text = b"16777217 1e39 1e-40 3.5e38 1e99999999999 5"
    assert [place for place, _ in parse(text, 6)[3]] == [0, 1, 2, 3, 4]
    assert [start for _, start in parse(text, 6)[3]] == [0, 9, 14, 20, 27]


def test_digits_beyond_the_nineteenth():
    out, *_ = parse(b"0.1000000000000000000000000000000000001 12345678901234567890123 000000000000000000000000.25", 3)
    np.testing.assert_array_equal(out, np.float32([0.1, 12345678901234567890123.0, 0.25]))


def test_nothing():
    assert parse(b" \n ", 1)[1:] == (0, -1, [])
