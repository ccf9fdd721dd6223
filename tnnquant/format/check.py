"""Do the layers of a graph that was just read fit together by name? Shapes and tensors are checked later."""

from __future__ import annotations

from tnnquant.errors import GraphError
from tnnquant.format.wire import shown
from tnnquant.graph import Graph

__all__ = ["check_structure"]


def check_structure(graph: Graph, name: str = "the model") -> None:
    """Check that every blob is made once, and before it is read.

    A layer that works in place (an output of the same name as one of its inputs) is fine, as is one whose outputs are
    stored as constants (folded by TNN).

    Raises
    ------
    GraphError
        Naming layer and blob.
    """
    known = {*graph.inputs, *graph.constants}
    made: dict[str, str] = dict.fromkeys(graph.inputs, "the model")
    for node in graph.nodes:
        for blob in node.inputs:
            if blob not in known:
                raise GraphError(
                    f"{name}: {node} reads blob {shown(blob)}, which is no model input, no constant and no output of "
                    f"an earlier layer"
                )
        for position, blob in enumerate(node.outputs):
            if blob in node.outputs[:position] or (blob in made and blob not in node.inputs):
                first = "itself" if blob in node.outputs[:position] else made[blob]
                raise GraphError(f"{name}: {node} makes blob {shown(blob)}, which {first} makes already")
            made[blob] = str(node)
            known.add(blob)
    for blob in graph.outputs:
        if blob not in known:
            raise GraphError(f"{name}: the model output {shown(blob)} is made by no layer")
