"""What goes wrong with a model on a device, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tnnquant.devices.conditions import CONDITIONS, Net, Place
from tnnquant.devices.rules import ANY, Outcome, rules_of
from tnnquant.graph import Graph
from tnnquant.graph.infer import Inference, infer
from tnnquant.graph.passes import widen_dynamic_range
from tnnquant.layers.base import BlobSpec

__all__ = ["Finding", "examine", "findings", "place_findings", "shapes_of"]


@dataclass(frozen=True)
class Finding:
    """A rule that a layer breaks.

    Attributes
    ----------
    layer, type : str
        The layer's name and type.
    rule : str
        The rule's name.
    outcome : Outcome
    device : str
        Whose rule it is.
    reason, advice : str
        What the device does; what to do about it.
    mixed : bool
        Only because some layer of the model is int8.
    """

    layer: str
    type: str
    rule: str
    outcome: Outcome
    device: str
    reason: str
    advice: str
    mixed: bool = False

    def __str__(self) -> str:
        return f"layer {self.layer!r} ({self.type}) is {_PHRASES[self.outcome]} on {self.device}: it {self.reason}"


_PHRASES = {
    Outcome.INEXACT: "inexact", Outcome.WRONG: "wrong", Outcome.FAILS: "an error at run time",
    Outcome.CRASHES: "a crash", Outcome.REFUSED: "refused",
}  # fmt: skip


def examine(
    graph: Graph, device: str = ANY, input_dims: Mapping[str, Sequence[int]] | None = None
) -> list[Finding]:
    """:func:`findings` of a model as it was read, TNN's own pairs too.

    Parameters
    ----------
    graph : Graph
    device : str
        ``any`` stands for all devices.
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto.

    Raises
    ------
    TnnQuantError
        There is no such device, or the shapes of the model do not fit.
    """
    inference = shapes_of(graph, input_dims)
    return findings(inference.graph, inference.specs, device)


def shapes_of(graph: Graph, input_dims: Mapping[str, Sequence[int]] | None = None) -> Inference:
    """Parameters and blobs of a model in which some layers may be int8; data types are those of the fp32 model."""
    graph = widen_dynamic_range(graph)
    plain = [node if node.layer.CONVERTS else node.replace(quantized=False) for node in graph.nodes]
    inference = infer(graph.with_nodes(plain), input_dims)
    pairs = zip(inference.graph.nodes, graph.nodes, strict=True)
    nodes = [node.replace(quantized=stored.quantized) for node, stored in pairs]
    return Inference(inference.graph.with_nodes(nodes), inference.specs, inference.folded)


def findings(
    graph: Graph, specs: Mapping[str, BlobSpec], device: str = ANY, *, mixed: bool | None = None
) -> list[Finding]:
    """The rules of a device that the layers of a model break.

    Parameters
    ----------
    graph : Graph
        Of any origin, fp32 or int8, with resolved parameters (:func:`shapes_of`).
    specs : mapping of str to BlobSpec
        Of its blobs, from the same inference.
    device : str
        ``any`` stands for all devices.
    mixed : bool, optional
        Whether to take the model for one in which some layer is int8; by default, whether one is.

    Returns
    -------
    list of Finding
        In the order of the layers.

    Raises
    ------
    ConfigError
        There is no such device.
    """
    net = Net(graph, specs, graph.is_quantized if mixed is None else mixed)
    return [
        finding
        for position in range(len(graph.nodes))
        for finding in place_findings(Place(graph.nodes[position], position, net), device)
    ]


def place_findings(place: Place, device: str) -> list[Finding]:
    """The rules that one layer breaks; none where its outputs are constants, which TNN computes on another device."""
    if place.outputs and all(spec.value is not None for spec in place.outputs):
        return []
    form = "int8" if place.node.quantized else "fp32"
    return [
        Finding(place.node.name, place.kind, rule.name, rule.outcome, name, rule.reason, rule.advice, rule.mixed)
        for name, rule in rules_of(device)
        if rule.form == form
        and (not rule.types or place.kind in rule.types)
        and (place.net.mixed or not rule.mixed)
        and CONDITIONS[rule.condition](place)
    ]
