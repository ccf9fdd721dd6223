"""Ctrl-C that is not lost.

Python raises KeyboardInterrupt wherever it happens to be. Inside a callback from C (Numba and LLVM make such calls
while they compile and load) nobody can catch it: it is printed as "Exception ignored" and the program goes on. The
handler here remembers the signal as well, and :func:`check` raises it again at the next place where that is possible.
Who catches a KeyboardInterrupt in order to go on calls :func:`forget`.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

__all__ = ["check", "forget", "remember"]

_is_pending = False


def remember() -> None:
    """Handle SIGINT from now on, unless the program has a handler of its own or this is not the main thread."""
    forget()
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handle)
        sys.unraisablehook = _say_unless_interrupted


def check() -> None:
    """Raise KeyboardInterrupt if one was asked for and got lost."""
    if _is_pending:
        forget()
        raise KeyboardInterrupt


def forget() -> None:
    """The signal has been dealt with."""
    global _is_pending
    _is_pending = False


def _handle(number: int, frame: FrameType | None) -> None:
    global _is_pending
    _is_pending = True
    raise KeyboardInterrupt


def _say_unless_interrupted(lost: sys.UnraisableHookArgs) -> None:
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
