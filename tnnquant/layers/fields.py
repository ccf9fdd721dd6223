"""What stands on a layer's line in the .tnnproto and in its body in the .tnnmodel: the declarations of a layer type.

Parameters are the fields of the layer's dataclass, made by :func:`param`; their order is that of the tokens. Tensors,
flags and strings of the body are listed in ``Layer.RESOURCE``, in the order of the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tnnquant.errors import ModelFormatError

__all__ = [
    "PARSERS",
    "REQUIRED",
    "FlagField",
    "ResourceField",
    "ScaleField",
    "TensorField",
    "TextField",
    "format_token",
    "format_tokens",
    "param",
    "parse_float",
    "parse_int",
]

REQUIRED = object()


# --- resource fields: what a layer's body in the .tnnmodel holds, in file order (walked by tnnquant.format.model) ---


@dataclass(frozen=True)
class TextField:
    """A string. ``layer_name``: the layer's name is written, whatever was read."""

    name: str = "name"
    layer_name: bool = True


@dataclass(frozen=True)
class FlagField:
    """An integer (``width`` 4) or a byte (1): non-zero when the tensor ``of`` follows."""

    name: str
    of: str
    width: int = 4


@dataclass(frozen=True)
class TensorField:
    """A raw buffer; ``when`` names the flag that says whether it is there. ``optional``: may be empty."""

    name: str
    when: str | None = None


@dataclass(frozen=True)
class ScaleField:
    """Trailing ``zero_point`` (INT8) and ``scale`` (FLOAT) buffers, there only if the tensor ``of`` is INT8.

    The old layout, which has the scale alone, is told by the data type of the first buffer. ``zero_point`` False: the
    scale alone in every case.
    """

    of: str
    zero_point: bool = True


ResourceField = TextField | FlagField | TensorField | ScaleField


# --- parameters: what stands after the blob names on a layer's line in the .tnnproto ---


def param(kind: str = "int", default: Any = REQUIRED) -> Any:
    """One parameter of a layer line; the order of the fields is the order of the tokens.

    Parameters
    ----------
    kind : {"int", "float", "bool", "str", "ints", "floats", "rest"}
        ``ints``/``floats``: a count, then as many values (a tuple). ``rest``: all remaining tokens, integers (a tuple).
    default
        The value TNN's reader gives an absent token; without one, its absence is an error.
    """
    if kind in ("ints", "floats", "rest") and default is REQUIRED and kind == "rest":
        default = ()
    metadata = {"kind": kind, "required": default is REQUIRED}
    return field(metadata=metadata) if default is REQUIRED else field(default=default, metadata=metadata)


_INT = re.compile(r"[+-]?\d+")


def parse_int(token: str, what: str) -> int:
    """An integer as C's ``atoi`` reads it (a fraction is cut off), but a token without digits is an error."""
    match = _INT.match(token)
    if not match or abs(value := int(match.group())) > 0xFFFFFFFF:
        raise ModelFormatError(f"{what} is {token!r}, expected an integer")
    return value


def parse_float(token: str, what: str) -> float:
    """A number rounded to float32, as TNN stores it; a token that is none is an error."""
    try:
        value = float(token)
    except ValueError:
        raise ModelFormatError(f"{what} is {token!r}, expected a number") from None
    with np.errstate(over="ignore"):
        return float(np.float32(value))


PARSERS = {
    "int": parse_int,
    "float": parse_float,
    "bool": lambda token, what: parse_int(token, what) != 0,
    "str": lambda token, what: token,
    "ints": parse_int,
    "floats": parse_float,
    "rest": parse_int,
}


def format_token(value: Any) -> str:
    """A parameter as TNN prints it: floats with 6 significant digits, booleans as 0 and 1.

    A float32 that 6 digits do not give back, which no file of TNN's own holds, is printed with 9: TNN reads them.
    """
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float):
        short = f"{value:g}"
        with np.errstate(over="ignore"):
            return short if np.float32(short) == np.float32(value) or value != value else f"{value:.9g}"
    return str(value)


def format_tokens(*values: Any) -> list[str]:
    """Tokens of several values; a tuple gives its items (without its length)."""
    tokens = []
    for value in values:
        tokens += [format_token(v) for v in value] if isinstance(value, tuple | list) else [format_token(value)]
    return tokens
