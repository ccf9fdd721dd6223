"""Other people's machine code in a process of its own.

A kernel that never ends holds the interpreter, and Ctrl-C with it; one that writes far outside its arrays takes the
process down. Both then happen elsewhere: this process can still be interrupted, and says what became of the other.
"""

from __future__ import annotations

import importlib
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Protocol

from tnnquant import errors
from tnnquant.base.plugins import load_plugin, loaded_files
from tnnquant.errors import KernelError, TnnQuantError

__all__ = ["Send", "run_apart"]


class Send(Protocol):
    """What a function that is run apart reports with."""

    def __call__(self, what: str, value: Any) -> None: ...


def run_apart(home: str, name: str, *args: Any) -> Iterator[tuple[str, Any]]:
    """Run ``function(send, *args)`` in a new process; what it sends, as it comes.

    Parameters
    ----------
    home, name : str
        Module and function.
    *args
        Can be pickled.

    Yields
    ------
    (str, object)
        Pairs that were sent. ``("doing", text)`` is kept: it says what was going on if the process dies.

    Raises
    ------
    KernelError
        The process died; the signal is named.
    TnnQuantError
        The function raised it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, home, name, args, loaded_files()), daemon=True)
    doing = ""
    try:
        process.start()
        theirs.close()
        while True:
            try:
                what, value = ours.recv()
            except EOFError:
                process.join()
                raise KernelError(f"{doing or name}: {_death(process.exitcode)}") from None
            if what == "end":
                return
            if what == "error":
                raise _error(*value)
            if what == "doing":
                doing = value
            else:
                yield what, value
    except KeyboardInterrupt:
        if doing:
            raise KeyboardInterrupt(doing) from None
        raise
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
        ours.close()


def _work(pipe: Connection, home: str, name: str, args: tuple, plugins: list[str]) -> None:
    # Ctrl-C goes to both processes; the other one decides. If that is killed, nobody waits for this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()

    def send(what: str, value: Any) -> None:
        pipe.send((what, value))

    try:
        for path in plugins:
            load_plugin(path)
        getattr(importlib.import_module(home), name)(send, *args)
        send("end", None)
    except TnnQuantError as error:
        send("error", (type(error).__name__, str(error)))
    except MemoryError:
        send("error", ("KernelError", "out of memory"))
    except Exception as error:
        send("error", ("Exception", f"{type(error).__name__}: {error}"))


def _die_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _error(kind: str, message: str) -> Exception:
    found = getattr(errors, kind, None)
    return found(message) if found is not None else RuntimeError(message)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"it crashed ({signal.Signals(-code).name}): it reads or writes far outside its arrays"
    return f"its process ended (exit code {code})"
