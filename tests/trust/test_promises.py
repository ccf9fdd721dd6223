"""Every promise of docs/promises.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_named_test_exists(file, name):
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.M)


def test_every_promise_names_one():
    rows = [line for line in TEXT.splitlines() if line.startswith("|") and not line.startswith("|---")]
    unnamed = [row for row in rows if "::" not in row and not row.rstrip().endswith("| test |")]
    assert not unnamed
    assert len(NAMED) > 40
