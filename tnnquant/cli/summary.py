"""The table at the end of ``tnnquant quantize``."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tnnquant.cli.plain import print_trimmed, screen_width
from tnnquant.pipeline.report import Report
from tnnquant.pipeline.summary import advised, summary_rows

__all__ = ["print_advice", "print_summary"]

_COLOURS = {"GOOD": "green", "DOUBTFUL": "yellow", "BROKEN": "red"}


def print_summary(report: Report, seconds: float) -> None:
    """Print size, layers, samples, times and files of a run, and its warnings (on stderr)."""
    # Only a terminal has an edge to wrap at; a path in a file must stay in one piece.
    console = Console(highlight=False, width=screen_width())
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in summary_rows(report, seconds):
        table.add_row(name, _coloured(text) if name == "verdict" else escape(text))
    print_trimmed(console, table)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    for warning in report.warnings:
        errors.print(f"[yellow]warning:[/] {escape(warning)}")


def _coloured(text: str) -> str:
    word, _, rest = text.partition(" ")
    return f"[bold {_COLOURS[word]}]{word}[/] {escape(rest)}"


def print_advice(report: Report, command: str, arguments: Sequence[str]) -> None:
    """Print the command of a better recipe, in one piece: to be copied, it is not wrapped.

    Parameters
    ----------
    report : Report
        Of the run.
    command : str
        The name of the running command.
    arguments : sequence of str
        As they were typed; the recipe among them is replaced, a time budget skipped.
    """
    recipes = list(advised(report))
    if recipes:
        # With the budget it would become what it is now.
        kept = _without("--time-budget", _without("--recipe", arguments))
        typed = shlex.join([*_program(), command, *kept, "--recipe", recipes[-1]])
        click.echo(f"closer to fp32: {typed}")


def _program() -> list[str]:
    """How this program is called from here: by its name, if the shell finds it by that."""
    place = Path(sys.argv[0])
    if place.parts[-2:] == ("tnnquant", "__main__.py"):
        return [sys.executable, "-m", "tnnquant"]
    found = shutil.which("tnnquant")
    is_found = found is not None and place.exists() and Path(found).samefile(place)
    return ["tnnquant"] if is_found or place.name != "tnnquant" else [str(place)]


def _without(flag: str, arguments: Sequence[str]) -> list[str]:
    """The arguments without an option and its value, in either form."""
    kept: list[str] = []
    is_value = False
    for argument in arguments:
        if not is_value and argument != flag and not argument.startswith(f"{flag}="):
            kept.append(argument)
        is_value = argument == flag and not is_value
    return kept
