"""Completion in a shell, as docs/completion.md says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TNNQUANT = Path(sys.executable).parent / "tnnquant"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "completion.md"


def complete(words: str, number: int) -> str:
    asked = {"_TNNQUANT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    done = subprocess.run([TNNQUANT], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("words", "number", "expected"),
    [
        ("tnnquant quan", 1, "plain,quantize"), ("tnnquant bench lat", 2, "plain,latency"),
        ("tnnquant inspect --cla", 2, "plain,--classes"), ("tnnquant quantize --fp32", 2, "plain,--fp32-share"),
    ],
)  # fmt: skip
def test_commands_and_options(words, number, expected):
    assert expected in complete(words, number).split()


def test_the_lines_of_the_page():
    shells = re.findall(r"_TNNQUANT_COMPLETE=(\w+)_source tnnquant", PAGE.read_text("utf-8"))
    assert shells == ["bash", "zsh", "fish"]
    for shell in shells[1:]:  # the one for bash asks bash for its version
        asked = os.environ | {"_TNNQUANT_COMPLETE": f"{shell}_source"}
        done = subprocess.run([TNNQUANT], env=asked, capture_output=True, text=True, check=True)
        assert f"_TNNQUANT_COMPLETE={shell}_complete" in done.stdout
