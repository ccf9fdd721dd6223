"""``progress=True``: a bar for people who call from Python, in a terminal or a notebook.

One line of text that is written over: both show it, and neither needs a library for it (a bar of rich wants ipywidgets
in a notebook).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

__all__ = ["CountDown", "Progress", "expect", "shown"]

#: Told of a stage, how much of it is done, and how much there is; 0: nobody knows.
Progress = Callable[[str, int, int], None]

_WIDTH = 24
_PAUSE = 0.1  # seconds between two states of one stage


def expect(progress: Progress | None, executor: object, plan: object) -> None:
    """Tell what shows progress, if it asks (:class:`tnnquant.pipeline.pace.Pace`), what there is to do: a model's
    executor and its plan."""
    tell = getattr(progress, "expect", None)
    if tell:
        tell(executor, plan)


class CountDown:
    """What a bar shows of the time that is left: as text, what is left by now.

    Parameters
    ----------
    seconds : float
        Left at this moment.
    clock : callable () -> float
        Seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = monotonic):
        self._end, self._clock = clock() + seconds, clock

    def __str__(self) -> str:
        return f"about {max(round(self._end - self._clock()), 1)} s left"


@contextmanager
def shown(progress: Progress | bool | None) -> Iterator[Progress | None]:
    """What to tell of progress: the callable itself; of ``True`` a bar on standard error, gone at the end.

    Parameters
    ----------
    progress : callable, bool or None
    """
    if callable(progress):
        yield progress
        return
    if not progress:
        yield None
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.clear()


class _Bar:
    def __init__(self) -> None:
        self._last = 0.0
        self._stage = ""
        self._length = 0
        self._left: CountDown | None = None

    def left(self, seconds: float) -> None:
        """How long the rest of the run takes; shown with the next state."""
        self._left = CountDown(seconds)

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = monotonic()
        if stage == self._stage and done != total and now - self._last < _PAUSE:
            return
        self._stage, self._last = stage, now
        text = stage[:_WIDTH].ljust(_WIDTH)
        if total:
            full = min(_WIDTH, _WIDTH * done // total)
            text += f" [{'#' * full}{'.' * (_WIDTH - full)}] {done}/{total}" + (f", {self._left}" if self._left else "")
        self._write(text)

    def clear(self) -> None:
        """Leave the line as it was."""
        if self._length:
            self._write("")
            print(end="\r", file=sys.stderr, flush=True)

    def _write(self, text: str) -> None:
        print("\r" + text.ljust(self._length), end="", file=sys.stderr, flush=True)
        self._length = len(text)
