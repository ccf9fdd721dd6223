"""Tables of hundreds of rows at once: rich takes a millisecond a row, which is more than the whole inspection."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import click

__all__ = ["print_table", "screen_width"]

GAP = "  "
SHORTEST = 12
UNLIMITED = 10_000

Cell = str | tuple[str, str]
"""Text, or text and colour."""


def screen_width() -> int:
    """Columns of the terminal; without one there is no edge to cut at."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], width: int | None = None) -> None:
    """Print rows under a header; the last column, and then the widest ones, are cut to fit the screen.

    Parameters
    ----------
    columns : sequence of str
        Headings; ``>`` in front aligns a column on the right.
    rows : sequence of sequence of str or (str, colour)
    width : int, optional
        Default: the screen's.
    """
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    heads = [name.lstrip(">") for name in columns]
    widths = [max(len(head), *(len(row[i]) for row in texts)) if texts else len(head) for i, head in enumerate(heads)]
    _shrink(widths, width or screen_width(), [name.startswith(">") for name in columns])
    right = [name.startswith(">") for name in columns]
    lines = [click.style(_line(heads, widths, right), bold=True)]
    for row, plain in zip(rows, texts, strict=True):
        styles = [None if isinstance(cell, str) else cell[1] for cell in row]
        lines.append(_line(plain, widths, right, styles))
    click.echo("\n".join(lines))


def _shrink(widths: list[int], room: int, numeric: list[bool]) -> None:
    """Make the columns fit: first the last one shorter, then whichever text column is the longest."""
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - room
    while excess > 0:
        texts = [i for i in range(len(widths)) if not numeric[i] and widths[i] > SHORTEST]
        if not texts:
            return
        at = len(widths) - 1 if texts[-1] == len(widths) - 1 else max(texts, key=lambda i: widths[i])
        cut = min(excess, widths[at] - SHORTEST)
        widths[at] -= cut
        excess -= cut


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], styles: Sequence | None = None) -> str:
    parts = []
    for i, (text, width) in enumerate(zip(cells, widths, strict=True)):
        shown = text if len(text) <= width else text[: width - 1] + "…"
        blanks = " " * (width - len(shown))
        styled = click.style(shown, fg=styles[i]) if styles and styles[i] and shown else shown
        parts.append(blanks + styled if right[i] else styled + blanks)
    return GAP.join(parts).rstrip()
