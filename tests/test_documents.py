"""Documents and the code that cites them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(p for folder in ("tnnquant", "kernels", "tools") for p in (ROOT / folder).rglob("*.py"))
CITED = re.compile(r"docs/tnn-format\.md[,;]?\s*\(?((?:\d[\d.]*(?:,\s*|\s*(?:and|to)\s+|\s+to\s+)?)+)")
HEADINGS = {
    match.group(1).rstrip(".")
    for match in re.finditer(r"^#+ (\d[\d.]*) ", (ROOT / "docs" / "tnn-format.md").read_text("utf-8"), re.MULTILINE)
}


def test_cited_sections_exist():
    """A comment that says docs/tnn-format.md, 6.3 has a section 6.3 to point to."""
    cited = {
        (number.rstrip("."), path.name)
        for path in SOURCES
        for match in CITED.finditer(re.sub(r"\s*\n\s*(# )?", " ", path.read_text("utf-8")))
        for number in re.findall(r"\d+(?:\.\d+)*", match.group(1))
    }
    assert len(cited) > 60
    assert {(number, name) for number, name in cited if number not in HEADINGS} == set()


def test_no_citation_of_a_document_that_is_not_here():
    for path in SOURCES:
        text = path.read_text("utf-8")
        assert not re.search(r"\breference,? (?:sections? )?\d", text), path
        for name in re.findall(r"docs/[\w-]+\.md", text):
            assert (ROOT / name).is_file(), f"{path}: {name}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages(page):
    """Relative links of the documentation lead to files of the repository."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


#: What must not be written, and what is written instead.
WORDS = {
    r"\bleft (?:out|away)\b|\bleaves out\b(?! as)": "skipped, not shown, kept in fp32",
    r"\bthe original\b(?! (?:list|layer list))": "TNN's tool",
    r"\bcalibrator\b": "TNN's tool",
    r"\bthe format'?s price\b": "what it costs",
    r"\bgoes? astray\b": "what happens",
    # "once a model", "5 ns a value", "a task a row": "per" tells rates from lists.
    r"\b(?:once|\d+(?:\.\d+)? (?:ns|us|ms|s|MB|cycles)|(?:one|a|an) (?!few\b|single\b)\w+|(?:summand|factor|bytes|times"
    r"|rows?|operations)) an? (?:axis|bin|blob|case|channel|direction|element|entry|feature|folder|group|image|kernel"
    r"|lane|layer|method|model|multiply-add|operand|pair|picture|pixel|process|row|sample|second|slot|task|threshold|trial|value"
    r"|vector|weight)\b(?! (?:of|that|which|with|for|in|has|takes|and)\b)": "per",
}


@pytest.mark.parametrize(("word", "instead"), WORDS.items(), ids=WORDS.values())
def test_words(word, instead):
    """Sources, with their messages and help, and pages say things in one way."""
    texts = [*SOURCES, *(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for path in texts:
        text = re.sub(r"\s*\n\s*(?:#:? )?", " ", path.read_text("utf-8"))
        found = [text[max(0, match.start() - 40) : match.end() + 40] for match in re.finditer(word, text)]
        assert not found, f"{path.relative_to(ROOT)}: write {instead!r}"


def test_glossary():
    """Terms stand once, in alphabetical order, and are used elsewhere."""
    page = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    terms = [term for row in re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)[1:] for term in row.split(", ")]
    firsts = [row.lower() for row in re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)[1:]]
    assert firsts == sorted(set(firsts))
    texts = [*SOURCES, *(path for path in (ROOT / "docs").glob("*.md") if path.name != "glossary.md")]
    text = " ".join(re.sub(r"\s*\n\s*(?:#:? )?", " ", path.read_text("utf-8")).lower() for path in texts)
    assert [term for term in terms if term.lower() not in text] == []


def test_environment_variables_are_documented():
    """Every variable of ours that the code reads is on its page, and no other."""
    page = (ROOT / "docs" / "environment.md").read_text("utf-8")
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    used = {name for path in files for name in re.findall(r"TNNQUANT_[A-Z]+(?:_[A-Z]+)*", path.read_text("utf-8"))}
    assert used == set(re.findall(r"TNNQUANT_[A-Z]+(?:_[A-Z]+)*", page))
