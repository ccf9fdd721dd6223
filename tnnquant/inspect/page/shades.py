"""Colours of errors over the model's own range: the worst layer of a good model must be seen as well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tnnquant.inspect.compare import Errors
from tnnquant.inspect.weights import BEST_DB

__all__ = ["ErrorShades", "Shades"]

#: Classes of error; the style sheet gives each a colour.
CLASSES = 6
#: Shares of the layers beyond the first and the last bound: one far layer must not take the colours of all others.
ENDS = (8, 92)
#: dB between the first and the last bound, at least: what differs by less looks alike.
NARROWEST = 6.0


@dataclass(frozen=True)
class Shades:
    """Bounds in dB between the classes of error.

    Attributes
    ----------
    bounds : tuple of float
        Best first, one fewer than there are classes; empty: there was nothing to divide.
    """

    bounds: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Iterable[float]) -> Shades:
        """Equal steps of dB over the range that most values are in; what has no error does not count."""
        found = [value for value in values if value < BEST_DB]
        if not found:
            return cls()
        low, high = np.percentile(found, ENDS)
        wider = max(0.0, NARROWEST - (high - low)) / 2
        bounds = np.linspace(high + wider, low - wider, CLASSES - 1)
        return cls(tuple(float(round(bound, 1)) for bound in bounds))

    def level(self, db: float | None) -> str:
        """The class of an SQNR: ``e0`` (best) to ``e5``; ``n`` without one."""
        if db is None:
            return "n"
        return f"e{sum(db < bound for bound in self.bounds)}"

    def names(self) -> list[str]:
        """What each class stands for, best first."""
        if not self.bounds:
            return ["no error"]
        first, last = self.bounds[0], self.bounds[-1]
        between = [f"{low:g} to {high:g}" for high, low in zip(self.bounds, self.bounds[1:], strict=False)]
        return [f"{first:g} dB and more", *between, f"below {last:g}"]


@dataclass(frozen=True)
class ErrorShades:
    """The shades of a model: of what layers add by themselves, and of what has gathered up to them."""

    isolated: Shades = Shades()
    cumulative: Shades = Shades()

    @classmethod
    def of(cls, errors: Errors | None) -> ErrorShades:
        """Over all layers that were measured."""
        if errors is None:
            return cls()
        both = ([figures.sqnr_db for row in errors.layers if (figures := getattr(row, what))]
                for what in ("isolated", "cumulative"))  # fmt: skip
        return cls(*map(Shades.of, both))

    def level(self, what: str, db: float | None) -> str:
        """The class of an SQNR of a kind: the parts of the isolated error share its colours."""
        return (self.cumulative if what == "cumulative" else self.isolated).level(db)
