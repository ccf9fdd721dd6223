"""Tables of hundreds of rows at once: rich takes a millisecond per row, which is more than the whole inspection."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_table", "print_trimmed", "screen_width"]

GAP = "  "
SHORTEST = 12
#: The name of a row is cut to no less.
SHORTEST_NAME = 24
UNLIMITED = 10_000

Cell = str | tuple[str, str]
"""Text, or text and colour."""


def screen_width() -> int:
    """``COLUMNS``, else those of the terminal; without either there is no edge to cut at."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return max(20, int(os.environ["COLUMNS"]))
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], width: int | None = None, *,
                names: int | None = None, important: Sequence[str] = ()) -> None:  # fmt: skip
    """Print rows under a header; what does not fit beside the names of the rows comes below, with the names again.

    Columns in which no row has anything are not printed.

    Parameters
    ----------
    columns : sequence of str
        Headings; ``>`` in front aligns a column on the right.
    rows : iterable of sequence of str or (str, colour)
    width : int, optional
        Default: the screen's.
    names : int, optional
        How many columns name the row. Default: up to the first one that is aligned on the left.
    important : sequence of str, optional
        Headings, the most important first. With them a row is one line: columns that do not fit are not shown, those
        that are not named first, and a last line says which.
    """
    columns, rows = _filled(columns, list(rows))
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    right = [name.startswith(">") for name in columns]
    heads = [name.lstrip(">") for name in columns]
    widths = [max(len(head), *(len(row[i]) for row in texts)) if texts else len(head) for i, head in enumerate(heads)]
    room = width or screen_width()
    is_cut = bool(important) and sum(widths) + len(GAP) * (len(widths) - 1) > room
    blocks = [_fitting(heads, widths, right, room, important)] if is_cut else _blocks(widths, right, room, names)
    parts = []
    for chosen in blocks:
        spaces, sides = [widths[i] for i in chosen], [right[i] for i in chosen]
        lines = [click.style(_line([heads[i] for i in chosen], spaces, sides), bold=True)]
        for row, plain in zip(rows, texts, strict=True):
            styles = [None if isinstance(row[i], str) else row[i][1] for i in chosen]
            lines.append(_line([plain[i] for i in chosen], spaces, sides, styles))
        parts.append("\n".join(lines))
    click.echo("\n\n".join(parts))
    if is_cut and len(blocks[0]) < len(heads):
        left_out = ", ".join(head for i, head in enumerate(heads) if i not in blocks[0])
        click.echo(f"(no room for {left_out})")


def _filled(columns: Sequence[str], rows: list[Sequence[Cell]]) -> tuple[Sequence[str], list[Sequence[Cell]]]:
    """The columns in which any row has something, or all of a table without rows."""
    kept = [i for i in range(len(columns)) if not rows or any(row[i] and row[i][0] for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


def print_trimmed(console: Console, table: Table) -> None:
    """Print a table of rich without the blanks it pads cells and lines with: they would lie in files and be copied."""
    with console.capture() as shown:
        console.print(table)
    lines = (line.rstrip() for line in shown.get().rstrip().splitlines())
    click.echo("\n".join(lines).lstrip("\n"), color=console.is_terminal)


def _fitting(
    heads: Sequence[str], widths: list[int], right: Sequence[bool], room: int, important: Sequence[str]
) -> list[int]:
    """The columns that fit, in their order; widths of texts are cut to what is left for them."""
    order = [heads.index(head) for head in important if head in heads]
    order += [i for i in range(len(heads)) if i not in order]
    whole, used = list(widths), -len(GAP)
    kept: list[int] = []
    for i in order:
        if not right[i]:
            widths[i] = min(widths[i], SHORTEST_NAME if i == order[0] else SHORTEST)
        if not kept or used + len(GAP) + widths[i] <= room:
            used += len(GAP) + widths[i]
            kept.append(i)
    for i in kept:  # what is left of the room goes to the texts that were cut
        more = min(whole[i] - widths[i], max(0, room - used))
        widths[i] += more
        used += more
    return sorted(kept)


def _blocks(widths: list[int], right: Sequence[bool], room: int, count: int | None) -> list[list[int]]:
    """The columns of each part of a table, such that it fits; widths of texts that fit nowhere are cut."""
    last = len(widths) - 1
    excess = sum(widths) + len(GAP) * last - room
    if excess <= 0 or (not right[last] and widths[last] - excess >= SHORTEST):
        widths[last] -= max(0, excess)
        return [list(range(len(widths)))]
    names = list(range(count or (right.index(False) + 1 if False in right else 1)))
    widths[names[-1]] = min(widths[names[-1]], max(SHORTEST, room // 2))
    left = max(SHORTEST, room - sum(widths[i] + len(GAP) for i in names))
    blocks: list[list[int]] = []
    used = left
    for i in range(len(names), len(widths)):
        if not right[i]:
            widths[i] = min(widths[i], left)
        if used + widths[i] > left:
            blocks.append(list(names))
            used = 0
        blocks[-1].append(i)
        used += widths[i] + len(GAP)
    return blocks


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], styles: Sequence | None = None) -> str:
    parts = []
    for i, (text, width) in enumerate(zip(cells, widths, strict=True)):
        shown = text if len(text) <= width else text[: width - 1] + "…"
        blanks = " " * (width - len(shown))
        styled = click.style(shown, fg=styles[i]) if styles and styles[i] and shown else shown
        parts.append(blanks + styled if right[i] else styled + blanks)
    return GAP.join(parts).rstrip()
