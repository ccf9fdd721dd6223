"""Plain tables."""

from tnnquant.cli.plain import print_table


def test_alignment_and_colour(capsys):
    print_table((">n", "name"), [("1", "a"), ("22", ("b", "red"))])
    assert capsys.readouterr().out == " n  name\n 1  a\n22  b\n"


def test_the_last_column_is_cut_first_numbers_never(capsys):
    print_table(("name", ">value", "why"), [("a" * 20, "1234567890", "w" * 60)], width=60)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "a" * 20 + "  " + "1234567890" + "  " + "w" * 25 + "…"
    print_table(("name", ">value", "why"), [("a" * 20, "1234567890", "w" * 60)], width=40)
    assert "1234567890" in capsys.readouterr().out.splitlines()[1]
