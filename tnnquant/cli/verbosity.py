"""``-v`` and ``-q``: how much is said on stderr. The library logs through ``logging`` under the name ``tnnquant``."""

from __future__ import annotations

import logging
import sys

import click

__all__ = ["is_quiet", "note", "options"]

_state = {"quiet": False}


def is_quiet() -> bool:
    """Whether nothing but errors and what was asked for is printed."""
    return _state["quiet"]


def note(text: str) -> None:
    """A line on stderr that is no error and no result."""
    if not is_quiet():
        click.echo(text, err=True)


def options() -> list[click.Option]:
    """The options, for every command."""
    return [
        click.Option(
            ["-v", "--verbose"], count=True, is_eager=True, expose_value=False, callback=_be_verbose,
            help="Log what is done, on stderr; -vv in detail.",
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, is_eager=True, expose_value=False, callback=_be_quiet,
            help="No notes, warnings, progress or summary; errors alone.",
        ),
    ]  # fmt: skip


def _be_verbose(ctx: click.Context, param: click.Parameter, count: int) -> None:
    if not count:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(relativeCreated)8.0f ms  %(name)s: %(message)s"))
    logger = logging.getLogger("tnnquant")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if count > 1 else logging.INFO)


def _be_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    _state["quiet"] = value
