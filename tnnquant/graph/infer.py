"""Shapes before anything runs: resolve every layer's parameters, infer every blob, fold what is constant.

As in TNN (docs/tnn-format.md, 4.1), constants are folded only in models that hold a ``Shape`` layer: there, a layer
runs at once when all its inputs are constants or were computed from constants and shapes; its outputs become
constants, and the layer itself is skipped from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal

import numpy as np

from tnnquant.base.memory import refuse_giant
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.base.wording import dims_of
from tnnquant.errors import GraphError, TnnQuantError
from tnnquant.graph import Graph, Node
from tnnquant.layers.base import BlobSpec, Layer

__all__ = ["Inference", "infer", "located"]


@dataclass(frozen=True, eq=False)
class Inference:
    """What is known of a graph before it runs.

    Attributes
    ----------
    graph : Graph
        With resolved parameters, and with the folded constants among its constants.
    specs : dict of str to BlobSpec
        Of every blob.
    folded : frozenset of int
        Positions of the nodes that need not run.
    """

    graph: Graph
    specs: Mapping[str, BlobSpec]
    folded: frozenset[int]


def infer(graph: Graph, input_dims: Mapping[str, Sequence[int]] | None = None) -> Inference:
    """Resolve parameters and infer the dims and data type of every blob.

    Parameters
    ----------
    graph : Graph
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto, by input name.

    Raises
    ------
    GraphError
        An unknown input name, a blob that nothing produces, shapes that do not fit; the layer is named.
    UnsupportedLayerError
        A parameter, rank or data type a layer cannot handle.
    """
    specs = _sources(graph, input_dims or {})
    fold = any(node.layer.FOLDS_SHAPE for node in graph.nodes)
    constants = dict(graph.constants)
    nodes: list[Node] = []
    folded: set[int] = set()
    for position, node in enumerate(graph.nodes):
        with located(node):
            if not node.outputs:
                raise GraphError("makes no blob, expected at least one output")
            inputs = [_spec(specs, blob) for blob in node.inputs]
            if not fold and node.layer.NEEDS_FOLDING:
                inputs = [replace(spec, value=None) for spec in inputs]
            layer = node.layer.with_outputs(len(node.outputs)).resolved(_as_float(node, inputs), node.tensors)
            known = layer.FOLDS_SHAPE or (bool(inputs) and all(spec.value is not None for spec in inputs))
            if fold and known and layer.runnable():
                outputs = _run_on_constants(layer, inputs, node)
                folded.add(position)
                constants.update({blob: _stored(spec) for blob, spec in zip(node.outputs, outputs, strict=False)})
            else:
                outputs = node.half_of(layer).output_specs(inputs, node.tensors)
            if len(outputs) < len(node.outputs):
                raise GraphError(f"has {len(node.outputs)} outputs, its type makes {len(outputs)}")
            for blob, spec in zip(node.outputs, outputs, strict=False):
                refuse_giant(spec.dims, spec.dtype.numpy.itemsize, f"its output {blob!r}")
        nodes.append(node.replace(layer=layer))
        specs.update(zip(node.outputs, outputs, strict=False))
    for name in graph.outputs:
        if name not in specs:
            raise GraphError(f"the model output {name!r} is made by no layer")
    return Inference(graph.replace(nodes=tuple(nodes), constants=constants), specs, frozenset(folded))


class located:
    """Context manager: prefix errors of tnnquant with the layer's name and type; a lack of memory becomes one."""

    def __init__(self, node: Node):
        self.node = node

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        if isinstance(error, TnnQuantError) and not str(error).startswith("layer "):
            raise type(error)(f"{self.node}: {error}") from error
        if isinstance(error, MemoryError):
            raise GraphError(
                f"{self.node}: there is not enough memory for it; check its parameters and the dims of the inputs"
            ) from error
        return False


def _sources(graph: Graph, input_dims: Mapping[str, Sequence[int]]) -> dict[str, BlobSpec]:
    unknown = sorted(set(input_dims) - set(graph.inputs))
    if unknown:
        raise GraphError(f"the model has no input {unknown[0]!r}; its inputs are {', '.join(graph.inputs)}")
    specs = {}
    # A Reformat layer that quantizes a model input is made for inputs that fp32 layers read too.
    int8 = {blob for node in graph.nodes if node.quantized and not node.layer.CONVERTS for blob in node.inputs}
    for name, tensor in graph.constants.items():
        value = tensor.array()
        specs[name] = BlobSpec(value.shape, DataType.of(value), value)
    for name, spec in graph.inputs.items():
        dims = tuple(int(d) for d in input_dims.get(name, spec.dims))
        if not dims or any(d <= 0 for d in dims):
            raise GraphError(
                f"the model input {name!r} has dims {' '.join(map(str, dims))}: every one must be at least 1 "
                f"(give them with {dims_of(name)})"
            )
        dtype = spec.dtype if spec.dtype in (DataType.INT32, DataType.INT8) else DataType.FLOAT
        if name in int8:
            dtype = DataType.INT8
        refuse_giant(dims, dtype.numpy.itemsize, f"the model input {name!r}")
        specs[name] = BlobSpec(dims, dtype)
    return specs


def _as_float(node: Node, inputs: Sequence[BlobSpec]) -> Sequence[BlobSpec]:
    """What the layer of a quantized node would read in fp32: its parameters do not depend on the data type."""
    if not node.quantized:
        return inputs
    return [replace(spec, dtype=DataType.FLOAT) if spec.dtype == DataType.INT8 else spec for spec in inputs]


def _spec(specs: Mapping[str, BlobSpec], blob: str) -> BlobSpec:
    try:
        return specs[blob]
    except KeyError:
        raise GraphError(f"reads blob {blob!r}, which no earlier layer, input or constant makes") from None


def _run_on_constants(layer: Layer, inputs: Sequence[BlobSpec], node: Node) -> list[BlobSpec]:
    # A layer that folds from the shape alone is shown an array of that shape which takes no memory.
    values = [
        spec.value if spec.value is not None else np.broadcast_to(np.zeros((), spec.dtype.numpy), spec.dims)
        for spec in inputs
    ]
    for spec in layer.output_specs(inputs, node.tensors):  # the rest may rely on what it checks
        refuse_giant(spec.dims, spec.dtype.numpy.itemsize, "its output")
    results = layer.forward(values, layer.prepare(node.tensors, inputs))
    return [BlobSpec(result.shape, DataType.of(result), np.array(result, order="C")) for result in results]


def _stored(spec: BlobSpec) -> Tensor:
    assert spec.value is not None  # of a constant
    return Tensor(spec.value.reshape(-1), spec.dims, spec.dtype)
