"""Where the layers of a graph are drawn: rows by depth, an order within rows with few crossings, then places.

The usual three steps of drawing a directed graph in layers (Sugiyama): longest path from the inputs; long edges cut by
stand-ins, and rows sorted by the mean place of their neighbours, back and forth; boxes moved toward the mean of their
neighbours as far as their row allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

__all__ = ["Drawing", "draw"]

SWEEPS = 8

Item: TypeAlias = str | tuple[str, str, int]
"""What has a place in a row: a node, or what stands in for an edge there: from, to, row."""
Links: TypeAlias = dict[Item, list[Item]]


@dataclass(frozen=True)
class Drawing:
    """Places in units of the caller.

    Attributes
    ----------
    boxes : dict of str to (float, float)
        Centre of each node.
    edges : list of (str, str, list of (float, float))
        From, to, and the points between, top to bottom.
    width, height : float
    """

    boxes: Mapping[str, tuple[float, float]]
    edges: list[tuple[str, str, list[tuple[float, float]]]]
    width: float
    height: float


def draw(nodes: Sequence[str], edges: Sequence[tuple[str, str]], *, box: float, gap: float, row: float) -> Drawing:
    """Place nodes.

    Parameters
    ----------
    nodes : sequence of str
        In an order in which every edge leads forward.
    edges : sequence of (str, str)
    box, gap, row : float
        Width of a node, least distance of two, height of a row.
    """
    depth = _depths(nodes, edges)
    rows, links, chains = _with_stand_ins(nodes, edges, depth)
    widths = {item: (box if isinstance(item, str) else gap) for line in rows for item in line}
    _order(rows, links)
    places = _places(rows, links, widths, gap)
    left = min((places[item] - widths[item] / 2 for line in rows for item in line), default=0)
    right = max((places[item] + widths[item] / 2 for line in rows for item in line), default=0)
    at = {item: (places[item] - left, row * (number + 0.5)) for number, line in enumerate(rows) for item in line}
    lines = [(a, b, [at[item] for item in chain]) for (a, b), chain in chains.items()]
    return Drawing({name: at[name] for name in nodes}, lines, right - left, row * len(rows))


def _depths(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    depth = dict.fromkeys(nodes, 0)
    sources: dict[str, list[str]] = {}
    for a, b in edges:
        sources.setdefault(b, []).append(a)
    for name in nodes:
        depth[name] = max((depth[source] + 1 for source in sources.get(name, ())), default=0)
    return depth


def _with_stand_ins(
    nodes: Iterable[str], edges: Iterable[tuple[str, str]], depth: Mapping[str, int]
) -> tuple[list[list[Item]], list[tuple[Item, Item]], dict[tuple[str, str], list[Item]]]:
    """Rows of nodes and stand-ins, the links between neighbouring rows, and the way of every edge."""
    rows: list[list[Item]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in nodes:
        rows[depth[name]].append(name)
    links: list[tuple[Item, Item]] = []
    chains: dict[tuple[str, str], list[Item]] = {}
    for a, b in dict.fromkeys(edges):
        between = range(depth[a] + 1, depth[b])
        chain: list[Item] = [a, *((a, b, level) for level in between), b]
        for level in between:
            rows[level].append((a, b, level))
        links += list(pairwise(chain))
        chains[a, b] = chain
    return rows, links, chains


def _neighbours(links: Iterable[tuple[Item, Item]]) -> tuple[Links, Links]:
    up: Links = {}
    down: Links = {}
    for a, b in links:
        up.setdefault(b, []).append(a)
        down.setdefault(a, []).append(b)
    return up, down


def _order(rows: list[list[Item]], links: Iterable[tuple[Item, Item]]) -> None:
    up, down = _neighbours(links)
    index = {item: i for line in rows for i, item in enumerate(line)}
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for line in rows if forward else reversed(rows):
            near = up if forward else down

            def middle(item: Item, near: Mapping[Item, list[Item]] = near) -> float:
                around = near.get(item)
                return sum(index[other] for other in around) / len(around) if around else index[item]

            line.sort(key=lambda item: (middle(item), index[item]))
            index.update({item: i for i, item in enumerate(line)})


def _places(
    rows: list[list[Item]], links: Iterable[tuple[Item, Item]], widths: Mapping[Item, float], gap: float
) -> dict[Item, float]:
    up, down = _neighbours(links)
    places: dict[Item, float] = {}
    for line in rows:
        total = sum(widths[item] for item in line) + gap * (len(line) - 1)
        x = -total / 2
        for item in line:
            places[item] = x + widths[item] / 2
            x += widths[item] + gap
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        near = up if forward else down
        for line in rows if forward else reversed(rows):
            wanted = []
            for item in line:
                around = near.get(item) or [item]
                wanted.append(sum(places[other] for other in around) / len(around))
            _settle(line, wanted, places, widths, gap)
    return places


def _settle(
    line: list[Item], wanted: list[float], places: dict[Item, float], widths: Mapping[Item, float], gap: float
) -> None:
    """Put a row as near to where it wants to be as its order and widths allow: the mean of pushing right and left."""
    space = [(widths[a] + widths[b]) / 2 + gap for a, b in pairwise(line)]
    right, left = list(wanted), list(wanted)
    for i in range(1, len(line)):
        right[i] = max(right[i], right[i - 1] + space[i - 1])
    for i in reversed(range(len(line) - 1)):
        left[i] = min(left[i], left[i + 1] - space[i])
    for i, item in enumerate(line):
        places[item] = (right[i] + left[i]) / 2
