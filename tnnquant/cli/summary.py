"""The table at the end of ``tnnquant quantize``."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tnnquant.cli.plain import print_trimmed, screen_width
from tnnquant.pipeline.report import Report
from tnnquant.pipeline.summary import summary_rows

__all__ = ["print_summary"]

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
