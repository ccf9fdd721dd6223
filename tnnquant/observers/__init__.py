"""Observers: each turns the fp32 values of one blob into its scales and zero points.

A new one is one module here with ``@observer(code, "name")``; it appears in ``--help`` by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tnnquant.observers.base import REGISTRY, Observer, observer

__all__ = ["Observer", "choose_method", "create_observer", "finish", "method_codes", "observer"]

SMALL = 100


def create_observer(method: str, slots: int) -> Observer:
    """A fresh observer of a method for a blob with ``slots`` scales."""
    return REGISTRY.find(method)(slots)


def method_codes() -> dict[int, str]:
    """Names of the methods by the numbers of TNN's ``-b``."""
    return REGISTRY.codes()


def choose_method(method: str, dims: Sequence[int], *, is_network_input: bool) -> str:
    """The method really used for a blob (docs/tnn-format.md, 7.4, 3 and 5).

    Network inputs are always min-max. So are blobs of fewer than 100 values per channel (dims[2] * dims[3]), unless the
    method is asymmetric.

    Parameters
    ----------
    method : str
        What the user asked for.
    dims : sequence of int
        Of the blob, batch first.
    is_network_input : bool
    """
    if is_network_input:
        return "minmax"
    area = (dims[2] if len(dims) > 2 else 1) * (dims[3] if len(dims) > 3 else 1)
    return "minmax" if area < SMALL and method != "asymmetric" else method


def finish(observers: Iterable[Observer]) -> None:
    """Settle thresholds that are found for many observers at once."""
    groups: dict[type[Observer], list[Observer]] = {}
    for entry in observers:
        groups.setdefault(type(entry), []).append(entry)
    for kind, members in groups.items():
        kind.finish(members)
