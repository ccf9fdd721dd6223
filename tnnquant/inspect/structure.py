"""A .tnnproto alone: layers, and the shapes that follow without a single weight."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tnnquant.base.tensor import DataType
from tnnquant.errors import ConfigError, TnnQuantError
from tnnquant.graph import Graph, Node
from tnnquant.inspect.precision import Precision, as_fp32, stored_precision
from tnnquant.inspect.summary import BlobRow, LayerRow, Summary
from tnnquant.layers.base import BlobSpec, Layer
from tnnquant.layers.binary import Binary

__all__ = ["ALONE", "is_alone", "summarize_structure"]

ALONE = "this is the .tnnproto alone: weights, scales and sizes are not known, nor what quantize would make of it"


def is_alone(graph: Graph) -> bool:
    """Whether a graph that was read without a .tnnmodel lacks one."""
    return any(node.layer.RESOURCE and node.resource is None for node in graph.nodes)


def summarize_structure(
    graph: Graph, proto: os.PathLike | str, input_dims: Mapping[str, Sequence[int]] | None = None
) -> Summary:
    """Describe a graph without its tensors.

    Parameters
    ----------
    graph : Graph
        From a .tnnproto.
    proto : path
        Where it was read from.
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto.

    Returns
    -------
    Summary
        ``parameters`` and ``bytes`` of layers with tensors are None, dims that depend on them are empty.

    Raises
    ------
    ConfigError
        Dims of an input that the model does not have.
    """
    dims = dict(input_dims or {})
    unknown = sorted(set(dims) - set(graph.inputs))
    if unknown:
        raise ConfigError(f"the model has no input {unknown[0]!r}; its inputs are {', '.join(graph.inputs)}")
    specs, supposed = _shapes(as_fp32(graph), dims)
    layers = [_row(index, node, specs) for index, node in enumerate(graph.nodes)]
    makers = graph.producers()
    names = dict.fromkeys((*graph.inputs, *(blob for node in graph.nodes for blob in (*node.inputs, *node.outputs))))
    blobs = [BlobRow(name, _dims(specs, name), makers[name].name if name in makers else "") for name in names]
    notes = [ALONE]
    if supposed:
        more = f" and {len(supposed) - 1} more" if len(supposed) > 1 else ""
        notes.append(f"shapes after {supposed[0]}{more} suppose that the stored operand is no larger than the input")
    return Summary(
        str(proto), "", (Path(proto).stat().st_size, 0), {name: _dims(specs, name) for name in graph.inputs},
        {name: _dims(specs, name) for name in graph.outputs}, layers, blobs, notes,
    )  # fmt: skip


def _shapes(graph: Graph, dims: Mapping[str, Sequence[int]]) -> tuple[dict[str, BlobSpec], list[str]]:
    """Specs of the blobs that are known, and the layers whose output was supposed to have the dims of the input."""
    specs: dict[str, BlobSpec] = {}
    for name, spec in graph.inputs.items():
        given = tuple(int(d) for d in dims.get(name, spec.dims))
        if given and min(given) > 0:
            specs[name] = BlobSpec(given, spec.dtype or DataType.FLOAT)
    supposed = []
    for node in graph.nodes:
        if not all(blob in specs for blob in node.inputs):
            continue
        inputs = [specs[blob] for blob in node.inputs]
        outputs: Sequence[BlobSpec] = ()
        # Whatever a layer misses without its tensors, its output is not known then.
        with suppress(TnnQuantError, LookupError, TypeError, ValueError, AttributeError):
            layer: Layer = node.layer.with_outputs(len(node.outputs)).resolved(inputs, node.tensors)
            outputs = layer.output_specs(inputs, node.tensors)
        if not outputs and isinstance(node.layer, Binary) and len(inputs) == 1:
            outputs = inputs
            supposed.append(node.name)
        specs |= dict(zip(node.outputs, outputs, strict=False))
    return specs, supposed


def _row(index: int, node: Node, specs: Mapping[str, BlobSpec]) -> LayerRow:
    # What would become int8 depends on the weights.
    precision = Precision(stored_precision(node), "")
    macs = 0
    if all(blob in specs for blob in (*node.inputs, *node.outputs)):
        with suppress(TnnQuantError, LookupError, TypeError, ValueError, AttributeError):
            macs = node.layer.macs([specs[blob] for blob in node.inputs], [specs[blob] for blob in node.outputs])
    size = None if node.layer.RESOURCE else 0
    dims = _dims(specs, node.outputs[0]) if node.outputs else ()
    return LayerRow(
        index, node.name, node.layer.TYPE_NAMES[0], node.inputs, node.outputs, dims, precision, size, size, macs
    )


def _dims(specs: Mapping[str, BlobSpec], blob: str) -> tuple[int, ...]:
    return specs[blob].dims if blob in specs else ()
