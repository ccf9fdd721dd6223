"""What made a page: the command line, versions, the machine, and when.

A page of the same inputs has the same bytes. The date would break that: it is there only where a program asks for it,
and ``SOURCE_DATE_EPOCH`` (seconds since 1970, as reproducible builds set it) takes its place.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from tnnquant.errors import ConfigError

__all__ = ["Made", "made_now", "source_date"]

EPOCH = "SOURCE_DATE_EPOCH"
PACKAGES = ("numpy", "numba")


@dataclass(frozen=True)
class Made:
    """The origin of a page.

    Attributes
    ----------
    command : str
        As it can be typed again.
    date : str
        UTC; empty: not told.
    versions : tuple of str
    machine : str
    """

    command: str = ""
    date: str = ""
    versions: tuple[str, ...] = ()
    machine: str = ""


def source_date() -> datetime | None:
    """The date of ``SOURCE_DATE_EPOCH``; None if that is not set.

    Raises
    ------
    ConfigError
        It is no number of seconds.
    """
    given = os.environ.get(EPOCH)
    if given is None:
        return None
    try:
        return datetime.fromtimestamp(int(given), UTC)
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{EPOCH} is {given!r}, expected seconds since 1970 as a whole number") from None


def made_now(arguments: Sequence[str] = (), machine: str = "") -> Made:
    """The record of this run.

    Parameters
    ----------
    arguments : sequence of str
        Of the command line, the program's name first.
    machine : str
    """
    import shlex

    date = source_date() or datetime.now(UTC)
    versions = [f"tnnquant {version('tnnquant')}", f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # pragma: no cover - both are needed to run anything
            continue
    return Made(shlex.join(arguments), f"{date:%Y-%m-%d %H:%M} UTC", tuple(versions), machine)
