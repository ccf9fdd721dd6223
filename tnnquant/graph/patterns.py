"""Layers named by patterns: a name, a glob, ``re:`` a regular expression, ``type:`` a layer type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from tnnquant.base.wording import parameter
from tnnquant.errors import ConfigError
from tnnquant.graph import Graph
from tnnquant.layers.base import Layer, find_layer, layer_types

__all__ = ["fused_names", "match_layers", "split_patterns"]

_GLOB = re.compile(r"[*?\[]")
_SHOWN = 5


def split_patterns(texts: Iterable[str]) -> tuple[str, ...]:
    """Patterns out of command-line arguments: separated by commas, which no layer name holds; one that begins with
    ``re:`` is taken whole."""
    patterns: list[str] = []
    for text in texts:
        pieces = [text] if text.startswith("re:") else text.split(",")
        found = [piece.strip() for piece in pieces if piece.strip()]
        if not found:
            raise ConfigError(f"a pattern for layers is {text!r}; leave it out, or name a layer")
        patterns += found
    return tuple(patterns)


def match_layers(
    graph: Graph, patterns: Sequence[str], name: str, fused: Mapping[str, str] | None = None
) -> dict[int, str]:
    """The layers that some patterns name.

    Parameters
    ----------
    graph : Graph
    patterns : sequence of str
        ``conv1``; ``conv*``, ``*/cv2.?/*`` (``*`` matches slashes too); ``re:conv[0-9]+`` (the whole name must match);
        ``type:Convolution``.
    name : str
        Of the parameter that they come from, for messages: ``exclude``.
    fused : mapping of str to str, optional
        Layers that are no longer there by the layer they became part of: naming one means the other.

    Returns
    -------
    dict of int to str
        The first pattern that matches, by position of the layer.

    Raises
    ------
    ConfigError
        A pattern matches nothing; the nearest names are listed.
    """
    found: dict[int, str] = {}
    for pattern in patterns:
        hits = _hits(graph, pattern, parameter(name), fused or {})
        if not hits:
            nearest = _nearest(graph, pattern, fused or {})
            raise ConfigError(f"{parameter(name)} {pattern!r} matches no layer; {nearest}")
        for position in hits:
            found.setdefault(position, pattern)
    return found


def fused_names(before: Graph, after: Graph) -> dict[str, str]:
    """Layers of ``before`` that passes have made part of another, by name, with the name of that one."""
    kept = {node.name for node in after.nodes}
    makers = {blob: node.name for node in after.nodes for blob in node.outputs}
    gone = [node for node in before.nodes if node.name not in kept]
    return {node.name: makers[node.outputs[0]] for node in gone if node.outputs[0] in makers}


def _hits(graph: Graph, pattern: str, option: str, fused: Mapping[str, str]) -> list[int]:
    """A layer that stands for another is meant by that one's name and type too."""
    nodes = graph.nodes
    if pattern.startswith("type:"):
        kind = _type_of(pattern.removeprefix("type:"), option)
        instead = {name for name, other in graph.stand_ins.items() if other.kind is kind}
        return [p for p, node in enumerate(nodes) if type(node.layer) is kind or node.name in instead]
    matches = _matcher(pattern, option)
    targets = {target for name, target in fused.items() if matches(name)}
    targets |= {name for name, other in graph.stand_ins.items() if matches(other.layer)}
    return [position for position, node in enumerate(nodes) if matches(node.name) or node.name in targets]


def _type_of(name: str, option: str) -> type[Layer]:
    name = name.strip()
    known = layer_types()
    kind = find_layer(name) or next((known[other] for other in known if other.lower() == name.lower()), None)
    if kind is None:
        close = get_close_matches(name, known, _SHOWN)
        hint = f" (did you mean {', '.join(close)}?)" if close else ""
        raise ConfigError(f"{option} 'type:{name}': TNN has no layer type {name!r}{hint}")
    return kind


def _matcher(pattern: str, option: str) -> Callable[[str], object]:
    if pattern.startswith("re:"):
        try:
            return re.compile(pattern.removeprefix("re:")).fullmatch
        except re.error as error:
            raise ConfigError(f"{option} {pattern!r} is no regular expression: {error}") from None
    if _GLOB.search(pattern):
        # A name may hold brackets itself.
        return lambda name: name == pattern or fnmatchcase(name, pattern)
    return lambda name: name == pattern


def _nearest(graph: Graph, pattern: str, fused: Mapping[str, str]) -> str:
    if pattern.startswith("type:"):
        types = dict.fromkeys(type(node.layer).TYPE_NAMES[0] for node in graph.nodes)
        return f"the model has layers of the types {', '.join(types)}"
    bare = re.sub(r"[*?\[\]^$+\\]|^re:", "", pattern)
    names = [*(node.name for node in graph.nodes), *fused]
    lowered = {name.lower(): name for name in reversed(names)}
    close = [lowered[name] for name in get_close_matches(bare.lower(), lowered, _SHOWN, 0.5)]
    close = close or [name for name in names if bare and bare.lower() in name.lower()][:_SHOWN]
    if close:
        return f"the nearest names are {', '.join(close)}"
    return f"its layers are {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
