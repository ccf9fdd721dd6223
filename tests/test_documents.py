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


def test_environment_variables_are_documented():
    """Every variable of ours that the code reads is on its page, and no other."""
    page = (ROOT / "docs" / "environment.md").read_text("utf-8")
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    used = {name for path in files for name in re.findall(r"TNNQUANT_[A-Z]+(?:_[A-Z]+)*", path.read_text("utf-8"))}
    assert used == set(re.findall(r"TNNQUANT_[A-Z]+(?:_[A-Z]+)*", page))
