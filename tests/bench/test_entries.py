"""Bench entries that return the wrong thing are named, with what was wanted."""

import numpy as np
import pytest

from tnnquant.bench.entries import amount, prepare, reference, seeded
from tnnquant.bench.operators import Operator, Prepared, operators
from tnnquant.errors import ConfigError

DEQUANTIZE = type(operators()["dequantize_i8"])
CASE = "odd sizes"


def entry(**members):
    made = type("Mine", (DEQUANTIZE,), members)()
    type(made).name = "mine"
    return made


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda self, rng, *case: np.zeros(3), r"make\(\) for the case 'odd sizes' returned an array float64 .* 4"),
        (lambda self, rng, *case: None, r"returned nothing, expected a tuple of 4"),
        (lambda self, rng, *case: (1, 2), r"returned 2 values, expected a tuple of 4, the arguments of mine\(x,"),
        (lambda self, rng, *case: (1, 2, 3, 4), "argument out, which is written, is int 4, expected an array"),
        (lambda self, rng, *case: 1 / 0, r"make\(\) .* fails: ZeroDivisionError"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ConfigError, match=message) as error:
        seeded(entry(make=make), CASE)
    assert str(error.value).startswith("bench entry 'mine' (")


def test_a_result_that_is_no_argument():
    with pytest.raises(ConfigError, match=r"writes is \(7,\)"):
        seeded(entry(writes=(7,)), CASE)


@pytest.mark.parametrize(
    ("builtin", "message"),
    [
        (lambda self, *args: None, r"builtin\(\) returned nothing, expected Prepared"),
        (lambda self, *args: np.zeros((1, 64), np.int64), r"returned an array int64 \(1, 64\), expected Prepared"),
        (lambda self, *args: Prepared(), "neither an op nor a call"),
        (lambda self, *args: Prepared(op=np.zeros(3)), r"whose op is an array float64 \(3,\), expected int64"),
        (lambda self, *args: args[9], r"builtin\(\) fails: IndexError"),
    ],
)
def test_wrong_built_in_kernels(builtin, message):
    made = entry(builtin=builtin)
    with pytest.raises(ConfigError, match=message):
        prepare(made, *seeded(made, CASE))


@pytest.mark.parametrize("work", [None, "much", 0, float("nan")])
def test_wrong_work(work):
    made = entry(work=lambda self, *args: work)
    with pytest.raises(ConfigError, match=r"work\(\) returned .*, expected a number above 0"):
        amount(made, seeded(made, CASE))


def test_a_twin_that_fails():
    def naive(x, scale, zero, out):
        raise ValueError("no\nway")

    made = entry(naive=staticmethod(naive))
    with pytest.raises(ConfigError, match="its naive twin fails: ValueError: no way"):
        reference(made, *seeded(made, CASE))


def test_entries_of_the_table_pass():
    for made in operators().values():
        assert isinstance(made, Operator)
        case = next(iter(made.cases))
        args = seeded(made, case)
        assert prepare(made, *args)
        assert amount(made, args) > 0
