"""Labels side by side: each as near to its place as the others allow."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["grouped", "spread"]


def grouped(places: Sequence[float], names: Sequence[str], near: float) -> list[tuple[float, str]]:
    """Names whose places are less than ``near`` apart as one label, by place: (mean place, names joined)."""
    found: list[tuple[list[float], str]] = []
    for place, name in sorted(zip(places, names, strict=True)):
        if found and place - found[-1][0][0] < near:
            found[-1] = [*found[-1][0], place], found[-1][1] + name
        else:
            found.append(([place], name))
    return [(sum(members) / len(members), name) for members, name in found]


def spread(places: Sequence[float], widths: Sequence[float], low: float, high: float) -> list[float]:
    """Centres of labels of some widths, in the order of their places, none over another one if there is room.

    Parameters
    ----------
    places : sequence of float
        Where they want to be, ascending.
    widths : sequence of float
    low, high : float
        The ends of the room.
    """
    count = len(places)
    if not count:
        return []
    right, left = list(places), list(places)
    right[0] = max(right[0], low + widths[0] / 2)
    for i in range(1, count):
        right[i] = max(right[i], right[i - 1] + (widths[i - 1] + widths[i]) / 2)
    left[-1] = min(left[-1], high - widths[-1] / 2)
    for i in reversed(range(count - 1)):
        left[i] = min(left[i], left[i + 1] - (widths[i] + widths[i + 1]) / 2)
    found = [(a + b) / 2 for a, b in zip(right, left, strict=True)]
    # The mean keeps all distances; what it leaves beyond an end is pushed back in.
    for i in range(count):
        least = low + widths[i] / 2 if not i else found[i - 1] + (widths[i - 1] + widths[i]) / 2
        found[i] = max(found[i], least)
    for i in reversed(range(count)):
        most = high - widths[i] / 2 if i == count - 1 else found[i + 1] - (widths[i] + widths[i + 1]) / 2
        found[i] = min(found[i], most)
    return found
