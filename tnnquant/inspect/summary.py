"""What is in a model, without running it: layers, shapes, sizes, arithmetic, precision and its reasons, scales."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.errors import GraphError, TnnQuantError
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import infer
from tnnquant.graph.meaning import Meaning, TakenOut, meaning_of
from tnnquant.inspect.codes import CodeUsage, count_codes, usage_of_counts
from tnnquant.inspect.precision import FUSED, Precision, as_fp32, try_explain
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.layers.fields import ScaleField

__all__ = ["BlobRow", "LayerRow", "Summary", "WeightRow", "find_row", "summarize", "weight_name", "weight_rows",
           "weight_tensor"]  # fmt: skip


@dataclass(frozen=True, eq=False)
class WeightRow:
    """The weights of one layer.

    Attributes
    ----------
    dtype : str
        As stored.
    count, channels : int
        Values; output channels.
    low, high : float32 (channels,)
        Range of each channel: real values of fp32 weights; of int8 weights, products with the input's scale.
    scale : float32 (n,) or None
        int8: real units per step of the products with the codes of the input; n is 1 or ``channels``.
    zero_point : int8 (n,) or None
    usage : CodeUsage or None
        int8: per output channel.
    """

    dtype: str
    count: int
    channels: int
    low: np.ndarray
    high: np.ndarray
    scale: np.ndarray | None = None
    zero_point: np.ndarray | None = None
    usage: CodeUsage | None = None

    @property
    def spread(self) -> float:
        """How many times wider the widest channel is than the median one; 1 is ideal for one scale per layer."""
        peak = np.maximum(np.abs(self.low), np.abs(self.high)).astype(np.float64)
        middle = np.median(peak) if peak.size else 0.0
        return float(peak.max() / middle) if middle > 0 else 1.0

    def as_dict(self) -> dict:
        """As JSON types."""
        result = {"dtype": self.dtype, "count": self.count, "channels": self.channels, "spread": _short(self.spread)}
        result |= {"low": _floats(self.low), "high": _floats(self.high)}
        if self.scale is not None and self.zero_point is not None and self.usage is not None:
            result |= {"scale": _floats(self.scale), "zero_point": self.zero_point.tolist(), **self.usage.as_dict()}
        return result


@dataclass(frozen=True, eq=False)
class LayerRow:
    """One layer.

    Attributes
    ----------
    index : int
        Position in the file.
    name, type : str
    inputs, outputs : tuple of str
    dims : tuple of int
        Of the first output; empty if unknown.
    precision : Precision
    parameters : int or None
        Values in the model file; None without one.
    bytes : int or None
        Their size there.
    macs : int
        Multiply-accumulates of one run.
    weights : WeightRow or None
    """

    index: int
    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dims: tuple[int, ...]
    precision: Precision
    parameters: int | None
    bytes: int | None
    macs: int
    weights: WeightRow | None = None

    @property
    def is_finite(self) -> bool:
        """Whether none of its weights is NaN or infinite."""
        found = self.weights
        return found is None or bool(np.isfinite(found.low).all() and np.isfinite(found.high).all())

    @property
    def is_fused(self) -> bool:
        """Whether ``quantize`` makes it part of another layer."""
        return self.precision.reason.startswith(FUSED)

    def as_dict(self) -> dict:
        """As JSON types."""
        return {
            "index": self.index,
            "name": self.name,
            "type": self.type,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "dims": list(self.dims),
            "precision": self.precision.stored,
            "planned": self.precision.planned,
            "reason": self.precision.reason,
            "problem": self.precision.problem,
            "parameters": self.parameters,
            "bytes": self.bytes,
            "macs": self.macs,
            "weights": self.weights.as_dict() if self.weights else None,
        }


@dataclass(frozen=True, eq=False)
class BlobRow:
    """One blob.

    Attributes
    ----------
    name : str
    dims : tuple of int
        Empty if unknown.
    made_by : str
        Layer name; empty for a model input.
    params : QuantParams or None
        None for an fp32 blob.
    """

    name: str
    dims: tuple[int, ...]
    made_by: str
    params: QuantParams | None = None

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The real values that the lowest and the highest code stand for, float64 (n,) each."""
        if self.params is None:
            return None
        scale, zero = self.params.scale.astype(np.float64), self.params.zero_point.astype(np.float64)
        # The lowest code is -127, but where 0 is below that.
        return (np.minimum(-127, zero) - zero) * scale, (127 - zero) * scale

    @property
    def range(self) -> tuple[float, float] | None:
        """:attr:`ends` over all channels."""
        if self.ends is None:
            return None
        low, high = self.ends
        return float(low.min()), float(high.max())

    @property
    def dead(self) -> int:
        """Channels with the scale 0: whatever they hold becomes 0."""
        return 0 if self.params is None else int((self.params.scale == 0).sum())

    def as_dict(self) -> dict:
        """As JSON types."""
        result: dict[str, object] = {
            "name": self.name, "dims": list(self.dims), "made_by": self.made_by,
            "precision": "fp32" if self.params is None else "int8",
        }  # fmt: skip
        if self.params is not None and self.range is not None:
            low, high = self.range
            result |= {"scale": _floats(self.params.scale), "zero_point": self.params.zero_point.tolist(),
                       "low": _short(low), "high": _short(high), "dead_channels": self.dead}  # fmt: skip
        return result


@dataclass(frozen=True, eq=False)
class Summary:
    """A model at a glance.

    Attributes
    ----------
    proto, model : str
        The files.
    sizes : tuple of int
        Their bytes.
    inputs, outputs : dict of str to tuple of int
        Dims by name.
    layers : list of LayerRow
    blobs : list of BlobRow
    problems : list of str
        What keeps the whole model from being run; what is wrong with a layer is in its precision.
    taken_out : tuple of TakenOut
        What is stored beside and is no part of what the model means.
    bytes_beside : int
        Of the layers among these; their values are not among those of ``layers``.
    """

    proto: str
    model: str
    sizes: tuple[int, int]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    layers: list[LayerRow]
    blobs: list[BlobRow]
    problems: list[str] = field(default_factory=list)
    taken_out: tuple[TakenOut, ...] = ()
    bytes_beside: int = 0

    @property
    def is_structure(self) -> bool:
        """Whether it is of a .tnnproto without its .tnnmodel."""
        return any(row.parameters is None for row in self.layers)

    @property
    def precision(self) -> str:
        """``int8`` if any layer is, ``dynamic`` if any has int8 weights, else ``fp32``."""
        stored = {row.precision.stored for row in self.layers}
        return next((kind for kind in ("int8", "dynamic") if kind in stored), "fp32")

    def totals(self) -> dict:
        """Sums over the layers; ``int8_*`` counts what is int8, of an fp32 model what would become so."""
        is_int8 = [(row.precision.stored if self.precision == "int8" else row.precision.planned) == "int8"
                   for row in self.layers]  # fmt: skip
        macs = sum(row.macs for row in self.layers)
        int8_macs = sum(row.macs for row, flag in zip(self.layers, is_int8, strict=True) if flag)
        return {
            "layers": len(self.layers),
            "int8_layers": sum(is_int8),
            "parameters": None if self.is_structure else sum(row.parameters or 0 for row in self.layers),
            "bytes": None if self.is_structure else sum(row.bytes or 0 for row in self.layers) + self.bytes_beside,
            "macs": macs,
            "int8_macs": int8_macs,
            "file_bytes": sum(self.sizes),
        }

    def grouped_problems(self) -> list[str]:
        """All problems, those of layers that share one in one line."""
        grouped: dict[str, list[str]] = {}
        for row in self.layers:
            if row.precision.problem:
                grouped.setdefault(row.precision.problem, []).append(row.name)
        lines = []
        for problem, names in sorted(grouped.items(), key=lambda item: -len(item[1])):
            more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
            lines.append(f"{names[0]}{more} int8, but {problem}")
        return self.problems + lines

    def as_dict(self) -> dict:
        """As JSON types; the schema is in docs/inspect.md."""
        return {
            "proto": self.proto,
            "model": self.model,
            "precision": self.precision,
            "inputs": {name: list(dims) for name, dims in self.inputs.items()},
            "outputs": {name: list(dims) for name, dims in self.outputs.items()},
            "totals": self.totals(),
            "problems": self.grouped_problems(),
            "stored_beside": [entry.as_dict() for entry in self.taken_out],
            "layers": [row.as_dict() for row in self.layers],
            "blobs": [row.as_dict() for row in self.blobs],
        }


def summarize(
    graph: Graph, proto: os.PathLike | str = "", model: os.PathLike | str | None = "",
    input_dims: Mapping | None = None, meaning: Meaning | None = None,
) -> Summary:  # fmt: skip
    """Describe a graph as it is meant; nothing is run, and no Numba imported.

    Parameters
    ----------
    graph : Graph
    proto, model : path, optional
        Where it was read from.
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto.
    meaning : Meaning, optional
        Of the graph; by default what the file alone tells.

    Raises
    ------
    GraphError
        A layer's weights are missing or do not fit its parameters: the two files do not belong together.
    """
    specs, nodes, problems = _shapes(graph, input_dims)
    for node in nodes:
        _check_weights(node, specs)
    verdicts, error = try_explain(graph, input_dims)
    meaning = meaning or meaning_of(graph)
    stored = {node.name: (index, node) for index, node in enumerate(nodes)}
    if not meaning.is_as_stored:
        graph = meaning.graph
        specs, nodes, _ = _shapes(graph, input_dims)
    layers = [_layer_row(node, *stored[node.name], specs, verdicts[node.name]) for node in nodes]
    if error and error not in problems:
        problems.append(error)
    problems += [f"{row.name} has weights that are NaN or infinite" for row in layers if not row.is_finite]
    makers = graph.producers()
    names = dict.fromkeys((*graph.inputs, *(blob for node in nodes for blob in (*node.inputs, *node.outputs))))
    blobs = [
        BlobRow(name, _dims(specs, name), makers[name].name if name in makers else "", graph.scales.get(name))
        for name in names
        if name not in graph.constants
    ]
    sizes = _size(proto), _size(model)
    return Summary(
        str(proto), str(model or ""), sizes, {name: _dims(specs, name) for name in graph.inputs},
        {name: _dims(specs, name) for name in graph.outputs}, layers, blobs, problems, meaning.taken_out,
        sum(_bytes(stored[entry.name][1]) for entry in meaning.taken_out if entry.name in stored),
    )  # fmt: skip


def _size(path: os.PathLike | str | None) -> int:
    return Path(path).stat().st_size if path else 0


def find_row(summary: Summary, name: str) -> LayerRow | BlobRow:
    """The layer, or else the blob, of that name.

    Raises
    ------
    GraphError
        There is neither; close names are proposed.
    """
    from difflib import get_close_matches

    rows: dict[str, LayerRow | BlobRow] = {row.name: row for row in summary.blobs}
    rows |= {row.name: row for row in summary.layers}
    if name in rows:
        return rows[name]
    close = get_close_matches(name, rows, 3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"layers are {', '.join(list(rows)[-3:])}, ..."
    raise GraphError(f"the model has no layer and no blob {name!r}; {hint}")


def weight_tensor(node: Node) -> Tensor | None:
    """The tensor of a layer that can be int8, in whatever type it is stored; None without one."""
    tensor = node.tensors.get(weight_name(node))
    return tensor if tensor is not None and tensor.size else None


def weight_name(node: Node) -> str:
    """The field of that tensor; empty for a layer that cannot have int8 weights."""
    return next((entry.of for entry in node.layer.RESOURCE if isinstance(entry, ScaleField)), "")


def weight_rows(node: Node, channels: int) -> np.ndarray | None:
    """The stored weights as (channels, n), None if they have none or do not divide."""
    tensor = weight_tensor(node)
    if tensor is None or channels < 1 or tensor.size % channels:
        return None
    values = tensor.data if tensor.dtype == DataType.INT8 else tensor.float32()
    return values.reshape(channels, -1)


def _shapes(graph: Graph, input_dims: Mapping | None) -> tuple[Mapping[str, BlobSpec], tuple[Node, ...], list[str]]:
    """Dims of all blobs; if they cannot be told, none, and the reason."""
    try:
        inference = infer(as_fp32(graph), input_dims)
    except TnnQuantError as error:
        if input_dims:
            raise
        return {}, graph.nodes, [str(error)]
    # The layers with resolved parameters, but as they are in the file.
    nodes = zip(graph.nodes, inference.graph.nodes, strict=True)
    return inference.specs, tuple(node.replace(layer=resolved.layer) for node, resolved in nodes), []


def _check_weights(node: Node, specs: Mapping[str, BlobSpec]) -> None:
    """Compare the number of weights with what parameters and shapes ask for."""
    if node.layer.role != QuantRole.WEIGHTED:
        return
    tensor = weight_tensor(node)
    if tensor is None:
        raise GraphError(f"{node} has no weights in the .tnnmodel: do the two files belong together?")
    if not specs:
        return
    out = specs[node.outputs[0]].dims
    macs = node.layer.macs([specs[blob] for blob in node.inputs], [specs[blob] for blob in node.outputs])
    places = prod(out) // out[1] if len(out) > 1 else 1
    expected = macs // max(places, 1)
    if tensor.size != expected:
        raise GraphError(
            f"{node} has {tensor.size} weights in the .tnnmodel, its parameters and input ask for {expected}: do the "
            "two files belong together?"
        )


def _bytes(node: Node) -> int:
    return sum(tensor.data.nbytes for tensor in node.tensors.values())


def _layer_row(
    node: Node, index: int, stored: Node, specs: Mapping[str, BlobSpec], precision: Precision
) -> LayerRow:
    macs = 0
    if specs:
        macs = node.layer.macs([specs[blob] for blob in node.inputs], [specs[blob] for blob in node.outputs])
    dims = _dims(specs, node.outputs[0]) if node.outputs else ()
    return LayerRow(
        index, node.name, node.layer.TYPE_NAMES[0], node.inputs, node.outputs, dims, precision,
        sum(tensor.size for tensor in stored.tensors.values()), _bytes(stored), macs, _weight_row(node, dims),
    )  # fmt: skip


def _weight_row(node: Node, dims: tuple[int, ...]) -> WeightRow | None:
    scale = node.tensors["scale"].float32() if "scale" in node.tensors else np.ones(1, np.float32)
    rows = weight_rows(node, scale.size if scale.size > 1 else (dims[1] if len(dims) > 1 else 1))
    stored = weight_tensor(node)
    if rows is None or stored is None:
        return None
    dtype = stored.dtype.name
    if rows.dtype != np.int8:
        return WeightRow(dtype, rows.size, len(rows), rows.min(axis=1), rows.max(axis=1))
    zero = node.tensors["zero_point"].data if "zero_point" in node.tensors else np.zeros(scale.size, np.int8)
    if zero.size != scale.size:
        raise GraphError(f"{node} has {scale.size} scales and {zero.size} zero points of its weights, expected as many")
    usage = usage_of_counts(count_codes(rows))
    low, high = ((ends - zero.astype(np.float32)) * scale for ends in (usage.low, usage.high))
    return WeightRow(dtype, rows.size, len(rows), low.astype(np.float32), high.astype(np.float32), scale, zero, usage)


def _dims(specs: Mapping[str, BlobSpec], blob: str) -> tuple[int, ...]:
    return specs[blob].dims if blob in specs else ()


def _short(value: float) -> float:
    """A float with the digits of float32: JSON stays readable."""
    return float(f"{float(value):.7g}")


def _floats(values: np.ndarray) -> list[float]:
    return [_short(value) for value in values]
