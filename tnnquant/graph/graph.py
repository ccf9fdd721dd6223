"""The model in memory: nodes, tensors, scales. Frozen; a stage takes a graph and returns another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import Layer, LayerType
from tnnquant.layers.halves import Fp32Half, Half, int8_half

__all__ = ["Graph", "InputSpec", "Node", "QuantParams", "Resource", "StandIn"]


@dataclass(frozen=True)
class InputSpec:
    """A model input: its dims and data type (``dtype`` None: the proto, of version 1, does not say)."""

    dims: tuple[int, ...]
    dtype: DataType | None = DataType.FLOAT


@dataclass(frozen=True, eq=False)
class Resource:
    """The body of a layer in the .tnnmodel.

    Attributes
    ----------
    tensors : mapping of str to Tensor
        By field name: ``filter``, ``bias``, ``scale``, ``zero_point``, ``weight``, ``element``, ...
    extras : mapping of str to str, int or bool
        Strings and flags that must be written back as they were read.
    type_string : str
        The type in the resource's header. A freshly quantized model has ``Convolution`` here and
        ``QuantizedConvolution`` in the proto.
    """

    tensors: Mapping[str, Tensor]
    extras: Mapping[str, str | int | bool] = field(default_factory=dict)
    type_string: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Node:
    """One layer placed in a graph.

    Attributes
    ----------
    name, type_string : str
        ``type_string`` is the one stored in the proto, with its ``Quantized`` prefix, if any.
    layer : Layer
        Parameters and arithmetic.
    inputs, outputs : tuple of str
        Blob names.
    resource : Resource or None
    quantized, dynamic_range : bool
        int8 arithmetic; int8 weights that are widened on loading.
    """

    name: str
    type_string: str
    layer: Layer
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    resource: Resource | None = None
    quantized: bool = False
    dynamic_range: bool = False

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors of the resource; empty without one."""
        return self.resource.tensors if self.resource else {}

    @property
    def half(self) -> Half[Layer]:
        """The form of its layer that it runs in: fp32 or int8."""
        return self.half_of(self.layer)

    def half_of(self, layer: Layer) -> Half[Layer]:
        """:attr:`half` of another layer in its place."""
        return int8_half(layer) if self.quantized else Fp32Half(layer)

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Node:
        """A copy with other tensors; the rest of its resource stays. Asked of nodes that have one."""
        if self.resource is None:
            raise TypeError(f"{self} has no resource")
        return self.replace(resource=dataclasses.replace(self.resource, tensors=tensors))

    def replace(self, **changes: Any) -> Node:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.type_string}, {', '.join(self.inputs)} -> {', '.join(self.outputs)})"

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.type_string})"


@dataclass(frozen=True)
class StandIn:
    """What a layer stands for that a pass put in the place of another.

    Attributes
    ----------
    layer, type : str
        Name and type of the layer that was there.
    kind : type of Layer
    may_be_int8 : bool
        Whether this one may become int8; otherwise it stays fp32, as the other would have.
    how : str
        What is written instead of the other.
    rule : str
        The rule about devices that the other breaks.
    devices : tuple of str
        On which it does.
    """

    layer: str
    type: str
    kind: LayerType
    may_be_int8: bool = False
    how: str = ""
    rule: str = ""
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """A model: what a .tnnproto and a .tnnmodel hold together.

    Attributes
    ----------
    inputs : dict of str to InputSpec
        In name order.
    outputs : tuple of str
        In name order.
    nodes : tuple of Node
        In execution order.
    constants : dict of str to Tensor
        Constant blobs, by blob name.
    scales : dict of str to QuantParams
        Of int8 blobs, by blob name.
    extra_blobs : frozenset of str
        Names TNN lists in the proto although no layer touches them any more (fused away).
    stand_ins : dict of str to StandIn
        Layers that stand for others of the model as it was read, by name. Not in files.
    """

    inputs: Mapping[str, InputSpec]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    scales: Mapping[str, QuantParams] = field(default_factory=dict)
    extra_blobs: frozenset[str] = frozenset()
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)

    def __repr__(self) -> str:
        int8 = sum(node.quantized for node in self.nodes)
        inputs = ", ".join(f"{name} {'x'.join(map(str, spec.dims))}" for name, spec in islice(self.inputs.items(), 3))
        kinds = f"{int8} int8, {len(self.nodes) - int8} fp32" if int8 else "fp32"
        return f"Graph({len(self.nodes)} layers, {kinds}; inputs {inputs}; outputs {', '.join(self.outputs[:3])})"

    def replace(self, **changes: Any) -> Graph:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """A copy with other nodes; blob names that vanish stay listed, as in TNN."""
        nodes = tuple(nodes)
        gone = self.blob_names() - _touched(nodes)
        return self.replace(nodes=nodes, extra_blobs=frozenset(gone))

    def blob_names(self) -> frozenset[str]:
        """Every blob name of the proto's third line."""
        return frozenset(_touched(self.nodes) | self.extra_blobs)

    def producers(self) -> dict[str, Node]:
        """The node that makes each blob (inputs and constants have none)."""
        return {blob: node for node in self.nodes for blob in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each blob, in order."""
        table: dict[str, list[Node]] = {}
        for node in self.nodes:
            for blob in dict.fromkeys(node.inputs):
                table.setdefault(blob, []).append(node)
        return table

    def node(self, name: str) -> Node:
        """The node of that name.

        Raises
        ------
        GraphError
            No such layer.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise GraphError(f"the model has no layer {name!r}; it has {', '.join(n.name for n in self.nodes[:8])}, ...")

    @property
    def is_quantized(self) -> bool:
        """Whether any node runs in int8."""
        return any(node.quantized for node in self.nodes)


def _touched(nodes: Iterable[Node]) -> set[str]:
    return {blob for node in nodes for blob in (*node.inputs, *node.outputs)}
