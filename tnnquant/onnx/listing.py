"""What operators a model holds, and which of them TNN cannot express; for ``tnnquant convert --list``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tnnquant.format.files import PathLike
from tnnquant.onnx.convert import attempt
from tnnquant.onnx.read import load
from tnnquant.onnx.refusal import Refusal

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["Listing", "list_operators"]


@dataclass
class Listing:
    """Operators of a model.

    Attributes
    ----------
    counts : dict of (domain, operator, opset) to int
        Nodes, those in branches and functions included.
    refusals : list of Refusal
    layers : int
        Of the converted model; 0 where some nodes are refused.
    notes : list of str
    """

    counts: dict[tuple[str, str, int], int]
    refusals: list[Refusal]
    layers: int = 0
    notes: list[str] = field(default_factory=list)

    def rows(self) -> list[list[str]]:
        """Name, opset, nodes, verdict; for a table."""
        refused = Counter((refusal.op, refusal.opset) for refusal in self.refusals)
        rows = []
        for (domain, op, opset), count in sorted(self.counts.items()):
            name = f"{domain}.{op}" if domain else op
            bad = refused[name, opset]
            rows.append([name, str(opset), str(count), f"{bad} cannot be expressed" if bad else "yes"])
        return rows

    def as_dict(self) -> dict:
        """As JSON types."""
        return {
            "operators": [
                {"operator": op, "domain": domain, "opset": opset, "nodes": count}
                for (domain, op, opset), count in sorted(self.counts.items())
            ],
            "refused": [vars(refusal) for refusal in self.refusals],
            "layers": self.layers,
            "notes": self.notes,
        }


def list_operators(source: PathLike, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Listing:
    """The operators of a model, and what of it TNN cannot express; nothing is written.

    Raises
    ------
    ModelFormatError, ConfigError
        As for :func:`tnnquant.onnx.convert`.
    """
    proto, _, _ = load(source)
    opsets = {("" if e.domain == "ai.onnx" else e.domain): int(e.version) for e in proto.opset_import}
    counts: Counter[tuple[str, str, int]] = Counter()
    for node in _all_nodes([proto.graph.node, *(function.node for function in proto.functions)]):
        domain = "" if node.domain == "ai.onnx" else node.domain
        counts[domain, node.op_type, opsets.get(domain, 1)] += 1
    conversion, refusals, _ = attempt(source, input_shapes)
    layers = len(conversion.graph.nodes) if conversion else 0
    return Listing(dict(counts), refusals, layers, list(conversion.notes) if conversion else [])


def _all_nodes(groups: Iterable[Iterable[NodeProto]]) -> Iterator:
    stack = list(groups)
    while stack:
        for node in stack.pop():
            yield node
            for attribute in node.attribute:
                stack += [attribute.g.node] if attribute.HasField("g") else [graph.node for graph in attribute.graphs]
