"""Pieces of HTML."""

from tnnquant.inspect.page.marks import level, shorten, tag


def test_text_and_attributes_are_escaped():
    assert tag("a", "x", href='"><script>', class_="b", data_v=3, hidden=None) == (
        '<a href="&quot;&gt;&lt;script&gt;" class="b" data-v="3">x</a>'
    )


def test_levels_and_names():
    assert [level(db) for db in (50, 40, 39.9, 24, 15, 14.9, -20, None)] == "e0 e0 e1 e3 e4 e5 e5 n".split()
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdef", 4) == "…def"
