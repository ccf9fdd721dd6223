"""What a rule about a device is, and the tables of all devices by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from tnnquant.base.registry import Registry

__all__ = ["ANY", "NAIVE", "Outcome", "Rule", "arithmetic_of", "device", "device_names", "rules_of"]

ANY, NAIVE = "any", "naive"


class Outcome(StrEnum):
    """What becomes of a layer on a device."""

    INEXACT = "inexact"
    """It runs, and its values are a little off; with PRECISION_HIGH they are not."""
    WRONG = "wrong"
    """It runs, and gives wrong values without an error."""
    FAILS = "fails"
    """The model loads, and running it returns an error."""
    CRASHES = "crashes"
    """The program ends."""
    REFUSED = "refused"
    """The model does not load."""

    @property
    def breaks(self) -> bool:
        """Whether a model with such a layer cannot be used on the device."""
        return self is not Outcome.INEXACT


@dataclass(frozen=True)
class Rule:
    """One row of a device's table: some layers, under a condition, do not run rightly.

    Attributes
    ----------
    name : str
        In messages and reports: ``channels-first``.
    types : tuple of str
        Layer types, by the first of their type strings; empty: every type.
    form : {"fp32", "int8"}
        The form of the layer that the rule is about.
    condition : str
        Name of a condition (:mod:`tnnquant.devices.conditions`).
    outcome : Outcome
    reason : str
        What the device does, in a sentence without its subject, the layer.
    advice : str
        What to do about it.
    mixed : bool
        Holds only in models in which some layer is int8.
    """

    name: str
    types: tuple[str, ...]
    form: str
    condition: str
    outcome: Outcome
    reason: str
    advice: str
    mixed: bool = False


_Table: TypeAlias = Callable[[], tuple[Rule, ...]]

_TABLES: Registry[_Table] = Registry("device", "tnnquant.devices")


def device(code: int, name: str) -> Callable[[_Table], _Table]:
    """Decorator: register a function without parameters that returns the rules of a device."""
    return _TABLES.register(name, code)


def rules_of(name: str) -> tuple[tuple[str, Rule], ...]:
    """The rules of a device, each with the name of the device; ``any`` has those of all.

    Raises
    ------
    ConfigError
        There is no such device; the nearest name is given.
    """
    table = _TABLES.find(name)
    if name == ANY:
        return tuple(pair for other in device_names() if other != ANY for pair in rules_of(other))
    return tuple((name, rule) for rule in table())


def device_names() -> tuple[str, ...]:
    """The known devices; the first, ``any``, stands for all of them."""
    return tuple(_TABLES.codes().values())


def arithmetic_of(name: str | None) -> str:
    """The device whose arithmetic a model is judged by that is made for a device: its own; of ``any``, the naive
    device's."""
    return NAIVE if name in (None, ANY) else str(name)
