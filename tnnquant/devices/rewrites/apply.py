"""Bring a graph to a form that a device computes rightly, as far as rewrites are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tnnquant.devices.conditions import Net, Place, is_taken_for_fused
from tnnquant.devices.findings import Finding, place_findings
from tnnquant.devices.rewrites.fragment import Fragment, rewrites_of
from tnnquant.devices.rules import NAIVE
from tnnquant.graph import Graph, Node, StandIn
from tnnquant.graph.infer import infer, located

__all__ = ["Made", "make_right"]

#: What a rewrite writes may break a rule in turn; nothing needs more rounds.
_ROUNDS = 5


@dataclass(frozen=True, eq=False)
class Made:
    """A graph, and what was done to it.

    Attributes
    ----------
    graph : Graph
        Its ``stand_ins`` tell what was written in another way.
    left : tuple of Finding
        What still breaks a rule.
    """

    graph: Graph
    left: tuple[Finding, ...] = ()


def make_right(
    graph: Graph, device: str, input_dims: Mapping[str, Sequence[int]] | None = None, *, mixed: bool
) -> Made:
    """Write layers that break a rule of a device in another way, the cheapest that is known.

    Parameters
    ----------
    graph : Graph
        fp32.
    device : str
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto.
    mixed : bool
        Whether some layer of the model will be int8.

    Returns
    -------
    Made
        The very graph, if no layer breaks a rule.

    Raises
    ------
    TnnQuantError
        The shapes of the graph do not fit.
    """
    if device == NAIVE:
        return Made(graph)
    graph = _activations_apart(graph)
    original = graph
    left: tuple[Finding, ...] = ()
    for _ in range(_ROUNDS):
        inference = infer(graph, input_dims)
        net = Net(inference.graph, inference.specs, mixed)
        taken = {*graph.blob_names(), *graph.constants, *graph.inputs, *(node.name for node in graph.nodes)}
        nodes: list[Node] = []
        constants, stand_ins = dict(graph.constants), dict(graph.stand_ins)
        found, is_changed = [], False
        for position, node in enumerate(graph.nodes):
            place = Place(inference.graph.nodes[position], position, net)
            broken = [finding for finding in place_findings(place, device) if finding.outcome.breaks]
            fragment = _rewritten(place, taken) if broken else None
            if fragment is None:
                nodes.append(node)
                found += broken
                continue
            made, how, parts = fragment
            nodes += made
            constants |= parts.constants
            is_changed = True
            devices = tuple(dict.fromkeys(finding.device for finding in broken))
            written = StandIn(node.name, place.kind, type(node.layer), True, how, broken[0].rule, devices)
            origin = stand_ins.pop(node.name, written)
            for new in made:
                allowed = origin.may_be_int8 and new.name in parts.may_be_int8
                stand_ins[new.name] = replace(origin, may_be_int8=allowed)
        left = tuple(found)
        if not is_changed:
            break
        graph = graph.replace(nodes=tuple(nodes), constants=constants, stand_ins=stand_ins)
    if graph is not original:
        unread = (_read(original) | (graph.constants.keys() - original.constants.keys())) - _read(graph)
        graph = graph.replace(constants={n: t for n, t in graph.constants.items() if n not in unread})
    return Made(graph, left)


def _activations_apart(graph: Graph) -> Graph:
    """Activations that TNN would take for a part of the convolution in the line before stand in front of that one."""
    nodes, is_moved = list(graph.nodes), False
    position = 1
    while position < len(nodes):
        if is_taken_for_fused(nodes, position):
            nodes[position - 1 : position + 1] = nodes[position], nodes[position - 1]
            is_moved, position = True, max(position - 1, 1)
        else:
            position += 1
    return graph.replace(nodes=tuple(nodes)) if is_moved else graph


def _read(graph: Graph) -> set[str]:
    return {blob for node in graph.nodes for blob in node.inputs} | set(graph.outputs)


def _rewritten(place: Place, taken: set[str]) -> tuple[list[Node], str, Fragment] | None:
    """The layers that stand for one, what they are, and the rest of the fragment; None if no rewrite applies."""
    with located(place.node):
        for how, function in rewrites_of(place.kind):
            fragment = Fragment(place, taken)
            results = function(fragment)
            if results is not None:
                return fragment.finished(results), how, fragment
    return None
