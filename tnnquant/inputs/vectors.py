"""Lists of numbers on the command line: means and scales."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tnnquant.errors import ConfigError
from tnnquant.inputs.display import quoted

__all__ = ["fit_vector", "parse_vector"]

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_ITEM = re.compile(rf"({_NUMBER})(?:/({_NUMBER}))?", re.ASCII)
#: TNN's tool has four values by default, whatever the model's channel count is.
_TNN_DEFAULT_LENGTH = 4


def parse_vector(text: str, what: str) -> tuple[float, ...]:
    """Numbers separated by commas, spaces or both; fractions such as ``1/128`` and exponents are understood.

    Parameters
    ----------
    text : str
        For instance ``"104.006,116.669,122.679"``, ``"1/255"``, ``"-1e-2 .5 +3"``.
    what : str
        What the numbers are, for messages: ``"-n/--mean"``.

    Raises
    ------
    ConfigError
        No number; an item that is none (named), is missing between commas, divides by 0, or is infinite.
    """
    if not text.strip():
        raise ConfigError(f"{what} is empty, expected numbers such as 104,116.7,122 or 1/255")
    items = re.split(r"\s*,\s*|\s+", text.strip())
    return tuple(_number(item, f"{what}, item {position}") for position, item in enumerate(items, 1))


def _number(item: str, where: str) -> float:
    if not item:
        raise ConfigError(f"{where} is empty, expected a number between commas")
    match = _ITEM.fullmatch(item)
    if not match:
        raise ConfigError(f"{where} is {quoted(item, 40)}, expected a number such as 127.5, 1/128 or 7.8e-3")
    value = float(match[1])
    if match[2] is not None:
        divisor = float(match[2])
        if divisor == 0:
            raise ConfigError(f"{where} is {item!r}, which divides by 0")
        value /= divisor
    if not math.isfinite(value):
        raise ConfigError(f"{where} is {quoted(item, 40)}, which is too large")
    return value


def fit_vector(values: Sequence[float], channels: int, what: str) -> tuple[float, ...]:
    """One value per channel: a single one serves all.

    Four equal values serve fewer channels too: TNN's tool has 0,0,0,0 and 1,1,1,1 by default.

    Raises
    ------
    ConfigError
        Another number of values.
    """
    if len(values) == channels:
        return tuple(values)
    alike = len(set(values)) == 1
    if len(values) == 1 or (alike and len(values) == _TNN_DEFAULT_LENGTH > channels):
        return (values[0],) * channels
    shown = ",".join(f"{value:g}" for value in values[:8]) + (",..." if len(values) > 8 else "")
    wanted = "1 channel: give one value" if channels == 1 else f"{channels} channels: give {channels} values or one"
    raise ConfigError(f"{what} has {len(values)} values ({shown}), but the model's input has {wanted}")
