"""The converters, by operator: a function of the operator's name is all that an operator needs.

A converter takes the builder, then the operator's inputs (an absent optional one is None), and the attributes as
keyword arguments, with ONNX's defaults in its signature. It returns the output, or a tuple of outputs. Where a later
version of an operator means something else, each meaning has a function; ``since`` is the first opset of it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tnnquant.onnx.value import Value

__all__ = ["Converter", "converters", "find_converter", "operator", "operator_table"]


@dataclass(frozen=True)
class Converter:
    """A converter and what its signature says.

    Attributes
    ----------
    op, domain : str
    since : int
        The first opset whose meaning it has.
    function : callable
    inputs : tuple of int
        The least and the most inputs; -1: any number.
    attributes : frozenset of str
    """

    op: str
    domain: str
    since: int
    function: Callable[..., Value | Sequence[Value]]
    inputs: tuple[int, int]
    attributes: frozenset[str]


_Function = TypeVar("_Function", bound="Callable[..., Value | Sequence[Value]]")

_TABLE: dict[tuple[str, str], list[Converter]] = {}
_loaded = False

#: Attributes of old opsets, or of training, that say nothing about the result.
IGNORED = frozenset(("consumed_inputs", "is_test", "spatial", "momentum"))


def operator(since: int = 1, name: str = "", domain: str = "") -> Callable[[_Function], _Function]:
    """Register the converter of the operator that the function is named after.

    Parameters
    ----------
    since : int
        The first opset whose meaning it has.
    name : str
        The operator, where the function cannot bear its name.
    domain : str
        ``""``: ONNX's own.
    """

    def register(function: _Function) -> _Function:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        positional = [p for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD]
        least = sum(p.default is p.empty for p in positional)
        most = -1 if any(p.kind == p.VAR_POSITIONAL for p in parameters) else len(positional)
        attributes = frozenset(p.name for p in parameters if p.kind == p.KEYWORD_ONLY)
        op = name or function.__name__
        entry = Converter(op, domain, since, function, (least, most), attributes)
        versions = _TABLE.setdefault((domain, op), [])
        if any(other.since == since for other in versions):
            raise ValueError(f"two converters of {op} since opset {since}")
        versions.append(entry)
        versions.sort(key=lambda other: other.since)
        return function

    return register


def find_converter(domain: str, op: str, opset: int) -> Converter | None:
    """The converter of the operator as it is in that opset; None if there is none."""
    _load()
    fitting = [entry for entry in _TABLE.get((domain, op), []) if entry.since <= opset]
    return fitting[-1] if fitting else None


def converters() -> list[Converter]:
    """All of them, by domain, operator and version."""
    _load()
    return [entry for key in sorted(_TABLE) for entry in _TABLE[key]]


def _load() -> None:
    global _loaded
    if not _loaded:
        package = importlib.import_module("tnnquant.onnx.ops")
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"tnnquant.onnx.ops.{module}")
        _loaded = True


def operator_table() -> list[str]:
    """The converters as lines of a Markdown table, by groups: what docs/onnx.md shows."""
    rows: dict[str, dict[str, list[Converter]]] = {}
    for entry in converters():
        group = entry.function.__module__.rpartition(".")[2]
        name = f"{entry.domain}.{entry.op}" if entry.domain else entry.op
        rows.setdefault(group, {}).setdefault(name, []).append(entry)
    lines = ["| Group | Operators (in brackets: opsets from which they mean something else) |", "|---|---|"]
    for group, operators in sorted(rows.items()):
        shown = []
        for name, entries in sorted(operators.items()):
            later = [str(entry.since) for entry in entries[1:]]
            shown.append(f"{name} ({', '.join(later)})" if later else name)
        lines.append(f"| {group} | {', '.join(shown)} |")
    return lines
