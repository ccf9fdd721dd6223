"""Pieces of HTML."""

from tnnquant.inspect.page.marks import shorten, tag


def test_text_and_attributes_are_escaped():
    assert tag("a", "x", href='"><script>', class_="b", data_v=3, hidden=None) == (
        '<a href="&quot;&gt;&lt;script&gt;" class="b" data-v="3">x</a>'
    )


def test_names_are_cut():
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdef", 4) == "…def"
