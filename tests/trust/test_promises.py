"""Every promise of docs/promises.md names tests that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_named_test_exists(file, name):
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.M)


def test_the_oldest_versions_are_those_of_the_metadata():
    """What the suite has passed with, as the page says, is what the package asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = " ".join(TEXT.split()).lower()
    floors = dict(line.split(">=") for line in project["dependencies"])
    assert floors.keys() == {"numpy", "numba", "click", "imageio", "pillow", "rich", "onnx"}
    for name, version in floors.items():
        assert f"{name} {version}" in text
    assert f"python {project['requires-python'].removeprefix('>=')} with" in text


def test_a_reduced_run_of_the_fuzzer_is_part_of_ci():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^\S*python tools/fuzz\.py --seconds 60 \|\| failed=1$", script, re.M)


def test_every_promise_names_one():
    rows = [line for line in TEXT.splitlines() if line.startswith("|") and not line.startswith("|---")]
    unnamed = [row for row in rows if "::" not in row and not row.rstrip().endswith("| test |")]
    assert not unnamed
    assert len(NAMED) > 40
