"""Which pictures are used for what, by their content alone: names, order and folders do not matter.

Pictures are ranked by the hash of their files. Equal files stay together, for a copy of a picture that is in the
statistics is not held out.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["pick", "split"]


def _groups(digests: Sequence[str]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for number, digest in enumerate(digests):
        groups.setdefault(digest, []).append(number)
    return [groups[digest] for digest in sorted(groups)]


def pick(digests: Sequence[str], most: int, among: Sequence[int] | None = None) -> list[int]:
    """At most that many numbers, of different content, in rising order.

    Parameters
    ----------
    digests : sequence of str
        By number.
    most : int
    among : sequence of int, optional
        Choose among these only.
    """
    allowed = None if among is None else set(among)
    groups = [[n for n in group if allowed is None or n in allowed] for group in _groups(digests)]
    return sorted([group[0] for group in groups if group][:most])


def split(digests: Sequence[str], share: float) -> tuple[list[int], list[int]]:
    """Numbers for the statistics and numbers held out, both in rising order.

    About that share is held out, at least one picture and at most all but one; none where all pictures are the same.
    """
    groups = _groups(digests)
    wanted = max(1, round(share * len(digests))) if share > 0 else 0
    held: list[int] = []
    for group in groups[:-1]:
        if len(held) >= wanted:
            break
        held += group
    out = set(held)
    return [n for n in range(len(digests)) if n not in out], sorted(held)
