"""The file to start a kernel from: it runs as written, for every operator, and says truly what arrives."""

import re

import numpy as np
import pytest

from tnnquant.bench.check import Arguments
from tnnquant.bench.custom import load_kernels
from tnnquant.bench.entries import seeded
from tnnquant.bench.kernels import compared
from tnnquant.bench.operators import operators
from tnnquant.bench.template import function_name, template

OPERATORS = list(operators())


@pytest.mark.parametrize("name", OPERATORS)
def test_every_template_runs_as_written_and_is_right(name, tmp_path):
    entry, path = operators()[name], tmp_path / "mine.py"
    path.write_text(template(entry))
    (kernel,) = load_kernels(path)
    assert kernel.operator is entry
    args = seeded(entry, next(iter(entry.cases)))
    assert compared(entry, Arguments(entry, args), Arguments(entry, args), kernel.function) == ""


@pytest.mark.parametrize("name", OPERATORS)
def test_the_template_names_what_arrives(name):
    entry = operators()[name]
    text = template(entry, "some file.py")
    head, code = text.split('"""', 2)[1:]
    assert entry.computes in head
    assert "some file.py" in head
    for parameter in entry.parameters:
        assert re.search(rf"^    {parameter}: ", head, re.M), parameter
    for codes in entry.codes.values():
        for word, number in codes.items():
            assert f"\n{word} = {number}\n" in code
    for value in seeded(entry, next(iter(entry.cases))):
        for field in getattr(value, "_fields", ()):
            assert field in head
    assert f"def {function_name(entry)}({', '.join(entry.parameters)}):" in code


def test_no_function_hides_a_name_of_python():
    assert function_name(operators()["range"]) == "range_"
    assert function_name(operators()["admm"]) == "admm"


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_says_what_it_computes(name):
    entry = operators()[name]
    assert entry.computes.endswith(".")
    assert "\n" not in entry.computes
    assert len(entry.computes) <= 110
    for argument, codes in entry.codes.items():
        place = entry.parameters.index(argument)
        assert {seeded(entry, case)[place] for case in entry.cases} <= set(codes.values())


@pytest.mark.parametrize("name", OPERATORS)
def test_the_list_tells_the_types_that_arrive(name):
    entry = operators()[name]
    text = " ".join(line.lstrip("# ") for line in entry.notes)
    told = _told(text)
    assert set(told) >= set(entry.parameters)
    for parameter, value in zip(entry.parameters, seeded(entry, next(iter(entry.cases))), strict=True):
        _agree(f"{name}, {parameter}", told[parameter], value, text)


def _told(text: str) -> dict[str, str]:
    """What a comment says of each argument: "a, b: type; c: type"."""
    return {
        word.strip(): what
        for names, what in re.findall(r"((?:\w+, )*\w+): (.*?)(?=; (?:\w+, )*\w+: |$)", text)
        for word in names.split(",")
    }


def _agree(where: str, told: str, value: object, text: str) -> None:
    if hasattr(value, "_fields"):
        assert type(value).__name__ in told, where
    elif isinstance(value, tuple):
        assert told.startswith("tuple of "), where
        for part in value:
            assert str(part.dtype) in told, where
    elif isinstance(value, np.ndarray):
        every = re.search(r"all(?: arrays)? (\w+)", text)
        other = re.match(r"(?:u?int|float)\d+|bool", told)
        kind = other[0] if other else every[1] if every else ""
        assert kind == str(value.dtype) or f"here {value.dtype}" in told, where
        dims = re.search(r"\(([^)]*)\)", told)
        if dims and "type" not in told:
            assert len([part for part in dims[1].split(",") if part.strip()]) == value.ndim, where
    else:
        assert told.split(",")[0].split()[0] == type(value).__name__, where
