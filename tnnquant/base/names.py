"""Names that nothing has yet."""

from __future__ import annotations

from collections.abc import Container

__all__ = ["unused_name"]


def unused_name(wanted: str, taken: Container[str], joint: str = "_") -> str:
    """``wanted``, or the first of ``wanted_2``, ``wanted_3``, ... that is not ``taken``.

    Parameters
    ----------
    wanted : str
    taken : container of str
    joint : str
        What stands before the number.
    """
    found, number = wanted, 1
    while found in taken:
        number += 1
        found = f"{wanted}{joint}{number}"
    return found
