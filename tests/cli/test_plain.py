"""Plain tables."""

import pytest
from rich import box
from rich.console import Console
from rich.table import Table

from tnnquant.cli.plain import print_table, print_trimmed


def test_alignment_and_colour(capsys):
    print_table((">n", "name"), [("1", "a"), ("22", ("b", "red"))])
    assert capsys.readouterr().out == " n  name\n 1  a\n22  b\n"


def test_the_last_column_is_cut_if_that_is_enough(capsys):
    print_table(("name", ">value", "why"), [("a" * 20, "1234567890", "w" * 60)], width=60)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "a" * 20 + "  " + "1234567890" + "  " + "w" * 25 + "…"


def test_what_does_not_fit_comes_below_beside_the_names(capsys):
    rows = [("1", "a" * 20, "1234567890", "w" * 60), ("22", "b", "7", "v")]
    print_table((">n", "name", ">value", "why"), rows, width=40)
    assert capsys.readouterr().out.splitlines() == [
        " n  name                       value",
        " 1  aaaaaaaaaaaaaaaaaaaa  1234567890",
        "22  b                              7",
        "",
        " n  name                  why",
        " 1  aaaaaaaaaaaaaaaaaaaa  wwwwwwwwwwwww…",
        "22  b                     v",
    ]


@pytest.mark.parametrize("width", [20, 30, 47, 80, 100])
def test_no_line_is_too_long_and_no_figure_is_lost(capsys, width):
    columns = ("model", *(f">column {i}" for i in range(6)))
    rows = [("m" * 50, *(f"{row}.{i:08}" for i in range(6))) for row in range(3)]
    print_table(columns, rows, width=width)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= max(width, 12 + 2 + 12)
    assert all(cell in printed for row in rows for cell in row[1:])


def test_two_columns_may_name_the_row(capsys):
    print_table(("operator", "case", ">time", ">rate"), [("conv", "big", "12345678", "87654321")], width=24, names=2)
    assert capsys.readouterr().out.splitlines()[-1] == "conv      big   87654321"


def test_tables_of_rich_lose_their_blanks(capsys):
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column("name")
    table.add_row("a  ")
    print_trimmed(Console(width=40, force_terminal=True), table)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert "a" in lines[-1]


def test_columns_of_the_environment_hold_in_pipes(monkeypatch, capsys):
    rows = [("a" * 30, "b" * 30, "c" * 30)]
    print_table(("one", "two", "three"), rows)
    assert len(capsys.readouterr().out.splitlines()[-1]) == 94
    monkeypatch.setenv("COLUMNS", "60")
    print_table(("one", "two", "three"), rows)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_row_is_one_line_where_columns_are_ranked(capsys, width):
    columns = (">#", "layer", "type", ">fp32", ">int8", ">other", "why")
    rows = [(str(i), f"a/very/long/name/of/layer/{i}", "Convolution", "1.25", "2.50", "x" * 9, "because " * 4)
            for i in range(3)]  # fmt: skip
    print_table(columns, rows, width, important=("layer", "fp32", "int8", "#"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (4 if width >= 80 else 5)
    assert all(len(line) <= width for line in lines[:4])
    assert all("1.25" in line and "2.50" in line for line in lines[1:4])
    if width < 80:
        assert lines[4].startswith("(no room for ")
        assert "why" in lines[4]


def test_empty_columns_are_not_printed(capsys):
    print_table((">n", "name", "why", ">top-1"), [("1", "a", "", ("", "red")), ("2", "b", ("", "red"), "")])
    assert capsys.readouterr().out == "n  name\n1  a\n2  b\n"
    print_table(("name", "why"), [])
    assert capsys.readouterr().out == "name  why\n"
