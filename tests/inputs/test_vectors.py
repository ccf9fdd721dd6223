"""Means and scales from the command line."""

import pytest

from tnnquant.errors import ConfigError
from tnnquant.inputs.vectors import fit_vector, parse_vector


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0", (0.0,)),
        ("104.006,116.669,122.679", (104.006, 116.669, 122.679)),
        ("104 116.7  122", (104.0, 116.7, 122.0)),
        (" 1 , 2,3 4\t5\n", (1.0, 2.0, 3.0, 4.0, 5.0)),
        ("1/128", (1 / 128,)),
        ("1/58.395,1/57.12,1/57.375", (1 / 58.395, 1 / 57.12, 1 / 57.375)),
        ("-1e-2 +3 .5 5. 7.8E-3 1e2/2e1", (-0.01, 3.0, 0.5, 5.0, 0.0078, 5.0)),
        ("-1/-4", (0.25,)),
    ],
)
def test_numbers(text, values):
    assert parse_vector(text, "-n/--mean") == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"-n is empty"),
        ("  ", r"-n is empty"),
        ("1,,2", r"-n, item 2 is empty, expected a number between commas"),
        ("1,2,", r"-n, item 3 is empty"),
        (",1", r"-n, item 1 is empty"),
        ("1,x,3", r"-n, item 2 is 'x', expected a number such as"),
        ("1;2", r"item 1 is '1;2'"),
        ("nan", r"'nan'"),
        ("inf", r"'inf'"),
        ("0x10", r"'0x10'"),
        ("1_000", r"'1_000'"),
        ("1/2/3", r"'1/2/3'"),
        ("1 / 128", r"item 2 is '/'"),
        ("1/0", r"item 1 is '1/0', which divides by 0"),
        ("1/0e5", r"divides by 0"),
        ("1e999", r"item 1 is '1e999', which is too large"),
        ("1e300/1e-300", r"too large"),
        ("\uff11", r"expected a number"),
        ("\x1b[31m", r"is '\\x1b\[31m'"),
    ],
)
def test_what_is_no_list_of_numbers(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_vector(text, "-n")


def test_a_long_item_is_cut_in_the_message():
    with pytest.raises(ConfigError) as error:
        parse_vector("x" * 100_000, "-s")
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("values", "channels", "fitted"),
    [
        ((5.0,), 3, (5.0, 5.0, 5.0)),
        ((1.0, 2.0, 3.0), 3, (1.0, 2.0, 3.0)),
        ((0.0, 0.0, 0.0, 0.0), 1, (0.0,)),
        ((1.0, 1.0, 1.0, 1.0), 3, (1.0, 1.0, 1.0)),
        ((1.0, 2.0, 3.0, 4.0), 4, (1.0, 2.0, 3.0, 4.0)),
    ],
)
def test_one_value_a_channel(values, channels, fitted):
    assert fit_vector(values, channels, "mean") == fitted


@pytest.mark.parametrize(
    ("values", "channels", "message"),
    [
        ((1.0, 2.0), 3, r"mean has 2 values \(1,2\), but the model's input has 3 channels: give 3 values or one"),
        ((1.0, 2.0, 3.0, 4.0), 3, "mean has 4 values"),
        ((1.0, 1.0), 3, "mean has 2 values"),
        ((1.0, 2.0, 3.0), 1, "the model's input has 1 channel: give one value"),
        ((), 3, "mean has 0 values"),
        ((1.0,) * 1000, 3, r"mean has 1000 values \(1,1,1,1,1,1,1,1,...\)"),
    ],
)
def test_another_number_of_values(values, channels, message):
    with pytest.raises(ConfigError, match=message):
        fit_vector(values, channels, "mean")
