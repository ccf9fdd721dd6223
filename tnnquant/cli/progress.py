"""Progress with an estimate of what is left, on a terminal; a note when kernels must be compiled first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tnnquant.base import interrupt
from tnnquant.base.progress import CountDown
from tnnquant.cli.verbosity import is_quiet, note

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["progress_display"]

#: Characters of the name of a stage.
_WIDTH = 32


@contextmanager
def progress_display(
    enabled: bool, compiling: Callable[[], None] | None = None
) -> Iterator[Callable[[str, int, int], None] | None]:
    """A progress callback ``(stage, done, total)``; on anything but a terminal it shows nothing.

    ``compiling`` is called once before the first kernel is compiled, if one has to be.
    """
    from tnnquant.kernels.jit import before_compiling

    stage = _Stage() if enabled and not is_quiet() else None

    def announce() -> None:
        if stage is not None and stage.bars is not None:
            stage.rename("compiling kernels")
        else:
            note("compiling kernels (first use only, up to half a minute) ...")
        if compiling:
            compiling()

    before_compiling(announce)
    if stage is None:
        yield None
        return
    with stage:
        yield stage


class _Stage:
    """One bar for the whole run: what is being done, how far that is, the time since it began, and what is left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn(f"{{task.description:{_WIDTH}}}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )  # fmt: skip
        self.bars: Progress | None = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self.bars.add_task("starting", total=None, left="")

    def __enter__(self) -> None:
        if self.bars is not None:
            self.bars.start()

    def __exit__(self, *error: object) -> None:
        if self.bars is not None:
            self.bars.stop()
            self.bars = None

    def rename(self, stage: str) -> None:
        """Another name for what is being done, as far as it was before."""
        if self.bars is not None:
            self.bars.update(self._task, description=stage[:_WIDTH])

    def left(self, seconds: float) -> None:
        """How long the rest of the run takes; it counts down by itself."""
        if self.bars is not None:
            self.bars.update(self._task, left=CountDown(seconds))

    def __call__(self, stage: str, done: int, total: int) -> None:
        """The callback; a total of 0: nobody knows how much there is."""
        interrupt.check()
        if self.bars is not None:
            if not total:
                self.bars.tasks[0].total = None  # update() takes None for "as it is"
            self.bars.update(self._task, description=stage[:_WIDTH], completed=done, total=total or None)
