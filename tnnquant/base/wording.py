"""How messages name parameters: as a Python caller writes them, or as the options of the command line.

The library says ``parameter("holdout")`` wherever a message speaks of one. That is ``holdout`` in Python; while the
command line runs, it is ``--holdout``. So each surface has its own words by one rule, and no message is written twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Words", "choices", "dims_of", "parameter", "spoken"]

_NAME_ALONE: Any = object()


class Words:
    """The words of Python; the command line has others (:mod:`tnnquant.cli.words`)."""

    def parameter(self, name: str) -> str:
        """A parameter or a field of a configuration."""
        return name

    def given(self, name: str, value: Any) -> str:
        """A parameter with a value; a text in capitals stands for one."""
        is_placeholder = isinstance(value, str) and value.isupper()
        return f"{name}={value if is_placeholder else repr(value)}"

    def dims_of(self, name: str, dims: Sequence[int] | None) -> str:
        """The dims of an input, to be given; None: any."""
        shown = "N, C, H, W" if dims is None else ", ".join(map(str, dims))
        return f"input_dims={{{name!r}: ({shown})}}"

    def choices(self, codes: Mapping[int, str]) -> str:
        """What a parameter may be, of names with the numbers of TNN's tool."""
        return ", ".join(codes.values())


_words = Words()


def parameter(name: str, value: Any = _NAME_ALONE) -> str:
    """The name of a parameter, or the parameter with a value, as the reader of the message would write it.

    Parameters
    ----------
    name : str
        Of the parameter or the field, in Python.
    value : optional
        A text in capitals stands for a value: ``parameter("eval_path", "FOLDER")``.
    """
    return _words.parameter(name) if value is _NAME_ALONE else _words.given(name, value)


def dims_of(name: str, dims: Sequence[int] | None = None) -> str:
    """How the dims of an input are given; without ``dims`` as a form."""
    return _words.dims_of(name, dims)


def choices(codes: Mapping[int, str]) -> str:
    """A list of what may be chosen."""
    return _words.choices(codes)


@contextmanager
def spoken(words: Words) -> Iterator[None]:
    """Within the context messages have other words."""
    global _words
    before, _words = _words, words
    try:
        yield
    finally:
        _words = before
