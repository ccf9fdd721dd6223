"""The kernel benchmark: every kernel has an entry, entries are equal to their twins, differences are told."""

import ast
from pathlib import Path

import numpy as np
import pytest

import tnnquant.kernels
from tnnquant.bench.check import Arguments, difference
from tnnquant.bench.entries import seeded
from tnnquant.bench.kernels import measure, run_cases
from tnnquant.bench.operators import BYTES, Operator, Prepared, find_operator, operator, operators
from tnnquant.errors import ConfigError

# Twins that serve another entry, or only another kernel of the same file.
NO_ENTRY = {"_resize_naive"}


def _twins():
    """Names of all naive twins of the package, without the suffix."""
    folder = Path(tnnquant.kernels.__path__[0])
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.endswith("_naive") and node.name not in NO_ENTRY:
                yield node.name.removesuffix("_naive")


def test_every_kernel_with_a_naive_twin_has_an_entry():
    assert [name for name in _twins() if name not in operators()] == []


def test_entries_describe_their_arguments():
    for entry in operators().values():
        assert entry.cases, entry.name
        assert bool(entry.tolerance) == bool(entry.why), f"{entry.name}: a tolerance needs its reason, and only it"


@pytest.mark.parametrize("name", ["gemm_i8", "quantize_i8", "histogram", "greedy_nms"])
def test_the_smallest_case_is_equal_and_has_a_rate(name):
    entry = find_operator(name)
    outcome = measure(entry, next(iter(entry.cases)))
    assert outcome.difference == ""
    assert outcome.seconds > 0
    assert outcome.rate > 0
    assert (outcome.share is None) == (name == "greedy_nms")


def test_arguments_are_the_same_every_time():
    entry = find_operator("gemm_i8")
    a, b = seeded(entry, "8x512x512"), seeded(entry, "8x512x512")
    np.testing.assert_array_equal(a[0], b[0])
    assert not np.array_equal(a[0][:5, :301], seeded(entry, "5x301x65, zero points")[0])


def test_an_unknown_operator_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match=r"no operator 'gem_i8' \(did you mean gemm_i8\?\); known: .*conv2d_i8"):
        next(run_cases(["gemm_f32", "gem_i8"]))


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="gemm_i8 is registered twice"):
        operator("gemm_i8")(type("Again", (Operator,), {}))


class _Double(Operator):
    """``out = 2 * x``, and a flaw to choose."""

    name = "double"
    cases = {"four": (4,)}  # noqa: RUF012
    unit = BYTES

    def __init__(self, flaw):
        self.flaw = flaw

    @staticmethod
    def naive(x, out):
        out[:] = 2 * x

    def make(self, rng, size):
        return np.arange(size, dtype=np.float32), np.zeros(size, np.float32)

    def builtin(self, x, out):
        def call():
            out[:] = 2 * x
            self.flaw(x, out)

        return Prepared(call=call)


def _wrong(x, out):
    out[2] += 1


def _beside(x, out):
    np.lib.stride_tricks.as_strided(out, (5,), (4,))[4] = 1


def _input(x, out):
    x[0] = 9


@pytest.mark.parametrize(
    ("flaw", "found"),
    [
        (lambda x, out: None, ""),
        (_wrong, "output 1: 1 of 4 values differ; [2] is 5.0, expected 4.0"),
        (_beside, "wrote outside an output array"),
        (_input, "changed argument 0, an input"),
    ],
)
def test_differences_and_damage_are_told(flaw, found):
    assert measure(_Double(flaw), "four").difference == found


def _differs(entry, want, got):
    pair = []
    for values in (want, got):
        made = Arguments(entry, (np.zeros(1, np.float32), np.float32(values)))
        pair.append(made)
    return difference(entry, *pair, (None, None))


def test_tolerance_is_relative_to_the_largest_value():
    entry = _Double(_wrong)
    assert _differs(entry, [1, 1000], [1.0001, 1000])
    entry.tolerance = 1e-6
    assert _differs(entry, [1, 1000], [1.0005, 1000]) == ""
    assert _differs(entry, [1, 1000], [1.01, 1000])


def test_what_is_not_a_number_must_be_so_on_both_sides():
    entry = _Double(_wrong)
    assert _differs(entry, [np.nan, np.inf], [np.nan, np.inf]) == ""
    assert _differs(entry, [np.nan, 1], [0, 1])
    entry.tolerance = 1e-3
    assert _differs(entry, [np.inf, 1], [1, 1])
    assert _differs(entry, [1, 1], [np.nan, 1])


def test_a_returned_value_counts_where_the_operator_says_so():
    entry = _Double(_wrong)
    made = Arguments(entry, entry.make(None, 4))
    assert difference(entry, made, made, (1, 2)) == ""
    entry.returns = True
    assert difference(entry, made, made, (1, 2)) == "returned 2, expected 1"
