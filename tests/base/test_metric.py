"""Metrics of the user's own: found, checked before they are used, and what they return."""

from functools import partial

import numpy as np
import pytest

from tnnquant.base.metric import Metric, as_metric
from tnnquant.errors import ConfigError, InputError, MetricError

FILE = """
import numpy as np
answer = 3
def share(outputs, references, labels):
    print("asked")
    return np.mean([(outputs[name] == references[name]).mean() for name in outputs])
def error(outputs, references, labels, names=()):
    return len(names)
error.lower_is_better = True
def two(outputs, references):
    return 0
class Scorer:
    def __call__(self, outputs, references, labels):
        return 2
scorer = Scorer()
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_a_function_of_a_file(file, capsys):
    metric = as_metric(f"{file}:share")
    assert (metric.name, metric.lower_is_better, metric.takes_names) == ("mine.py:share", False, False)
    assert metric.value({"a": np.arange(4)}, {"a": np.array([0, 1, 2, 9])}, None) == 0.75
    out, err = capsys.readouterr()
    assert (out, err) == ("", "asked\n")  # stdout is that of --json
    assert metric.drop(0.75, 1.0) == 0.25


def test_the_direction_and_the_names(file):
    metric = as_metric(f"{file}:error")
    assert metric.lower_is_better
    assert metric.value({}, {}, None, ["a.png", "b.png"]) == 2
    assert metric.drop(3.0, 1.0) == 2.0
    assert as_metric(f"{file}:share", lower_is_better=True).lower_is_better
    assert as_metric(f"{file}:scorer").value({}, {}, None) == 2


def test_another_text_is_another_metric(file):
    first = as_metric(f"{file}:share").identity
    assert as_metric(f"{file}:share").identity == first
    assert as_metric(f"{file}:share", lower_is_better=True).identity != first
    file.write_text(FILE.replace("mean", "max"))
    assert as_metric(f"{file}:share").identity != first


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ("{file}", ConfigError, "expected FILE.py:function"),
        ("{file}:", ConfigError, "expected FILE.py:function"),
        ("{file}.no:share", ConfigError, "expected FILE.py:function: there is no file"),
        ("package.module:share", ConfigError, "expected FILE.py:function: there is no file package.module"),
        ("nothing.py:share", InputError, "'nothing.py' does not exist"),
        ("{file}:shere", ConfigError, r"has no function 'shere' \(did you mean share\?\)"),
        ("{file}:zzz", ConfigError, r"its functions: share, error, two, Scorer, scorer"),
        ("{file}:answer", ConfigError, "answer is int, expected a function"),
        ("{file}:two", ConfigError, r"takes \(outputs, references\), expected \(outputs, references, labels\)"),
        (5, ConfigError, "metric is 5, expected FILE.py:function or a callable"),
    ],
)
def test_what_is_no_metric_is_named(file, given, kind, text):
    with pytest.raises(kind, match=text) as error:
        as_metric(given.format(file=file) if isinstance(given, str) else given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("raise ValueError('no\\nway')", r"mine.py:f failed in line 2 of mine.py: ValueError: no$"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("return float('nan')", "returned nan, expected a finite number"),
        ("return -float('inf')", "returned -inf"),
        ("return None", "returned NoneType, expected one number"),
        ("return [1]", "returned list"),
        ("return 10**400", "returned inf, expected a finite number"),
        ("return -10**400", "returned -inf, expected a finite number"),
        ("import numpy; return numpy.zeros(3)", r"returned ndarray of shape \(3,\), expected one number"),
        ("return outputs['nothing']", "KeyError: 'nothing'"),
    ],
)
def test_failures_are_one_line(tmp_path, body, text):
    path = tmp_path / "mine.py"
    path.write_text(f"def f(outputs, references, labels):\n    {body}\n")
    with pytest.raises(MetricError, match=text) as error:
        as_metric(f"{path}:f").value({}, {}, None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("found", [1, 2.5, True, np.float32(2), np.int8(3), np.array(0.5)])
def test_numbers_of_any_kind(found):
    assert Metric("f", lambda *_: found).value({}, {}, None) == float(found)


def test_a_file_imports_what_lies_beside_it(tmp_path, monkeypatch):
    """Also while it runs, and what it is made of is known by both texts."""
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "beside_a_metric.py").write_text("value = 3\n")
    (tmp_path / "late_beside_a_metric.py").write_text("value = 4\n")
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from beside_a_metric import value\n"
        "def f(outputs, references, labels):\n"
        "    import late_beside_a_metric\n"
        "    return value + late_beside_a_metric.value\n"
    )
    metric = as_metric(f"{mine}:f")
    assert metric.value({}, {}, None) == 7
    (tmp_path / "beside_a_metric.py").write_text("value = 5\n")
    assert as_metric(f"{mine}:f").identity != metric.identity


def measured(outputs, references, labels, factor=1.0):
    return factor


measured.lower_is_better = True


class Measure:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, outputs, references, labels):
        return self.factor

    def other(self, outputs, references, labels):
        return -self.factor


def enclosed(factor):
    return lambda outputs, references, labels: factor


def test_a_partial_is_called_and_directed_as_its_function():
    metric = as_metric(partial(partial(measured, factor=2.0)))
    assert (metric.name, metric.lower_is_better, metric.value({}, {}, None)) == ("measured", True, 2.0)


@pytest.mark.parametrize(
    "make", [lambda f: partial(measured, factor=f), Measure, lambda f: Measure(f).other, enclosed]
)
def test_what_a_callable_holds_is_part_of_what_it_is(make):
    """Results that were kept for one factor are not those of another."""
    assert as_metric(make(1.0)).identity == as_metric(make(1.0)).identity
    assert as_metric(make(1.0)).identity != as_metric(make(2.0)).identity
