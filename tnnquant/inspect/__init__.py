"""Look into a model: what is in it, what int8 costs, and where.

What needs no run (:mod:`~tnnquant.inspect.summary`, :mod:`~tnnquant.inspect.diff`) imports no Numba, so that a table of
layers is on the screen at once. Errors against fp32 are in :mod:`~tnnquant.inspect.compare`, what pictures do to the
ranges in :mod:`~tnnquant.inspect.ranges` and :mod:`~tnnquant.inspect.coverage`, the page in
:mod:`tnnquant.inspect.page`. The figures and the schema of JSON and CSV are explained in docs/inspect.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tnnquant.format.locate import find_pair
    from tnnquant.inspect.summary import summarize

__all__ = ["find_pair", "summarize"]

_HOMES = {"find_pair": "tnnquant.format.locate", "summarize": f"{__name__}.summary"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
