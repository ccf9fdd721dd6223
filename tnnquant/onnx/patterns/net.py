"""A TNN graph that can be changed in place, with who makes and who reads each blob at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.graph import Graph, Node, Resource
from tnnquant.layers.base import Layer, find_layer
from tnnquant.layers.binary import Binary

__all__ = ["Net", "new_node"]


def new_node(
    kind: str, like: Node, inputs: Sequence[str], params: Sequence[Any] = (),
    tensors: Mapping[str, np.ndarray] | None = None,
) -> Node:  # fmt: skip
    """A layer with the name and the outputs of another."""
    layer_type = find_layer(kind)
    assert layer_type is not None, kind
    made = {name: Tensor(np.ascontiguousarray(a, np.float32).reshape(-1)) for name, a in (tensors or {}).items()}
    resource = Resource(made, type_string=kind) if tensors else None
    return Node(like.name, kind, layer_type(*params), tuple(inputs), like.outputs, resource)


class Net:
    """A graph under change.

    Parameters
    ----------
    graph : Graph
    dims : mapping of str to tuple of int
        Of every blob; changes keep the dims of the blobs that stay.
    """

    def __init__(self, graph: Graph, dims: Mapping[str, tuple[int, ...]]):
        self.graph, self.dims = graph, dims
        self.nodes: list[Node | None] = list(graph.nodes)
        self.outputs = set(graph.outputs)
        self._makers = {blob: k for k, node in enumerate(graph.nodes) for blob in node.outputs}
        self._readers: dict[str, list[int]] = {}
        for k, node in enumerate(graph.nodes):
            for blob in dict.fromkeys(node.inputs):
                self._readers.setdefault(blob, []).append(k)

    # --- looking ---

    def maker(self, blob: str, *kinds: type[Layer]) -> Node | None:
        """The layer that makes a blob, if it is of one of these types (any, without types)."""
        position = self._makers.get(blob)
        node = None if position is None else self.nodes[position]
        return node if node is not None and (not kinds or isinstance(node.layer, kinds)) else None

    def private_maker(self, blob: str, *kinds: type[Layer]) -> Node | None:
        """As :meth:`maker`, if nothing else reads the blob: it may vanish."""
        return self.maker(blob, *kinds) if self.is_private(blob) else None

    def is_private(self, blob: str) -> bool:
        """Whether one layer reads the blob, and it is no model output."""
        if blob in self.outputs:
            return False
        count = 0
        for position in self._readers.get(blob, ()):
            node = self.nodes[position]
            count += node is not None and blob in node.inputs
            if count > 1:
                return False
        return count == 1

    def readers(self, blob: str) -> list[Node]:
        """The layers that read a blob."""
        found = (self.nodes[k] for k in self._readers.get(blob, ()))
        return [node for node in found if node is not None and blob in node.inputs]

    def element(self, node: Node) -> tuple[np.ndarray, int] | None:
        """The constant operand of a layer of two, as float32 under its dims, and which of the two it is."""
        tensor = node.tensors.get("element")
        if tensor is None or not isinstance(node.layer, Binary):
            return None
        if len(node.inputs) != 1 or tensor.data.dtype != np.float32:
            return None
        return tensor.array().reshape(tensor.dims or (-1,)), node.layer.weight_input_index

    def scalar(self, node: Node | None, kind: type[Binary], position: int | None = None) -> float | None:
        """The constant operand of a layer of that type, if it is one number."""
        if node is None or not isinstance(node.layer, kind):
            return None
        found = self.element(node)
        if found is None or found[0].size != 1 or (position is not None and found[1] != position):
            return None
        return float(found[0].reshape(-1)[0])

    # --- changing ---

    def replace(self, node: Node, new: Node) -> None:
        """Put another layer, with the same outputs or renamed ones, in the place of one."""
        position = self._position(node)
        self.nodes[position] = new
        for blob in node.outputs:
            self._makers.pop(blob, None)
        for blob in new.outputs:
            self._makers[blob] = position
        for blob in dict.fromkeys(new.inputs):
            known = self._readers.setdefault(blob, [])
            if position not in known:
                known.append(position)

    def remove(self, node: Node) -> None:
        """Take a layer out; its outputs are read no more, or made by another now."""
        position = self._position(node)
        self.nodes[position] = None
        for blob in node.outputs:
            if self._makers.get(blob) == position:
                del self._makers[blob]

    def _position(self, node: Node) -> int:
        for blob in node.outputs:
            position = self._makers.get(blob)
            if position is not None and self.nodes[position] is node:
                return position
        return self.nodes.index(node)

    def take_over(self, earlier: Node, later: Node, **changes: Any) -> Node:
        """Let ``earlier`` make what ``later`` made, which vanishes; the changed layer."""
        self.remove(later)
        new = earlier.replace(outputs=later.outputs, **changes)
        self.replace(earlier, new)
        return new

    def is_before(self, blob: str, node: Node) -> bool:
        """Whether a blob is there when a layer runs."""
        maker = self._makers.get(blob)
        return maker is None or maker < self._position(node)

    def result(self) -> Graph:
        """The graph as it is now."""
        nodes = tuple(node for node in self.nodes if node is not None)
        return Graph(self.graph.inputs, self.graph.outputs, nodes, self.graph.constants, self.graph.scales)
