"""Progress with an estimate of what is left, on a terminal; a note when kernels must be compiled first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

__all__ = ["progress_display"]

STAGES = {"ranges": "ranges", "histograms": "histograms", "weights": "weights"}


@contextmanager
def progress_display(
    enabled: bool, compiling: Callable[[], None] | None = None
) -> Iterator[Callable[[str, int, int], None] | None]:
    """A progress callback ``(stage, done, total)``; on anything but a terminal it shows nothing.

    ``compiling`` is called once before the first kernel is compiled, if one has to be.
    """
    from tnnquant.kernels.jit import before_compiling

    def announce() -> None:
        click.echo("compiling kernels (first use only, up to half a minute) ...", err=True)
        if compiling:
            compiling()

    before_compiling(announce)
    if not enabled:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, int] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(STAGES.get(stage, stage), total=total)
            bars.update(tasks[stage], completed=done)

        yield show
