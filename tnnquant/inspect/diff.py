"""Two models, layer by layer: structure, weights, scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.tensor import QuantParams
from tnnquant.graph import Graph, Node
from tnnquant.inspect.summary import LayerRow, Summary, weight_rows
from tnnquant.inspect.weights import bias_values, real_weights, sqnr_db

if TYPE_CHECKING:
    from tnnquant.layers.base import Layer

__all__ = ["Diff", "DiffRow", "diff_graphs"]

SAME, CHANGED, ONLY_A, ONLY_B = "same", "changed", "only in A", "only in B"


@dataclass(frozen=True)
class DiffRow:
    """One layer or blob of either model.

    Attributes
    ----------
    kind : {"layer", "blob"}
    name : str
    status : {"same", "changed", "only in A", "only in B"}
    changes : list of str
        What differs, one phrase each.
    weight_sqnr_db : float or None
        Of the weights of B against those of A, as real numbers (int8 ones dequantized); None if they are equal or
        cannot be compared.
    scale_ratio : tuple of float or None
        Smallest and largest ratio of a scale of B to that of A.
    """

    kind: str
    name: str
    status: str
    changes: list[str] = field(default_factory=list)
    weight_sqnr_db: float | None = None
    scale_ratio: tuple[float, float] | None = None


@dataclass(frozen=True)
class Diff:
    """What differs between two models.

    Attributes
    ----------
    a, b : str
        The protos.
    header : list of str
        Differences of inputs and outputs.
    rows : list of DiffRow
        Layers in the order of A, those of B alone after; then blobs with scales.
    """

    a: str
    b: str
    header: list[str]
    rows: list[DiffRow]

    def count(self, status: str, kind: str = "layer") -> int:
        """Rows of that status."""
        return sum(row.status == status and row.kind == kind for row in self.rows)

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not self.header and all(row.status == SAME for row in self.rows)

    def as_dict(self) -> dict:
        """As JSON types."""
        return {"a": self.a, "b": self.b, "same": self.is_same, "header": self.header,
                "rows": [asdict(row) for row in self.rows]}  # fmt: skip


def diff_graphs(a: Graph, b: Graph, summary_a: Summary, summary_b: Summary) -> Diff:
    """Compare two models; layers and blobs are matched by name.

    Parameters
    ----------
    a, b : Graph
    summary_a, summary_b : Summary
        Of the same graphs.
    """
    header = []
    for what in ("inputs", "outputs"):
        mine, theirs = getattr(summary_a, what), getattr(summary_b, what)
        if mine != theirs:
            header.append(f"{what} {_listed(mine)} -> {_listed(theirs)}")
    rows_a, rows_b = ({row.name: row for row in s.layers} for s in (summary_a, summary_b))
    nodes_a, nodes_b = ({node.name: node for node in graph.nodes} for graph in (a, b))
    rows = []
    for name, node in nodes_a.items():
        if name in nodes_b:
            channels = _channels(rows_a[name]), _channels(rows_b[name])
            rows.append(_diff_layer(a, b, node, nodes_b[name], channels))
        else:
            rows.append(DiffRow("layer", name, ONLY_A, [rows_a[name].type]))
    rows += [DiffRow("layer", name, ONLY_B, [rows_b[name].type]) for name in nodes_b if name not in nodes_a]
    return Diff(summary_a.proto, summary_b.proto, header, rows + _diff_scales(a.scales, b.scales))


def _channels(row: LayerRow) -> int:
    return row.weights.channels if row.weights is not None else 1


def _diff_layer(a: Graph, b: Graph, x: Node, y: Node, channels: tuple[int, int]) -> DiffRow:
    changes = []
    if type(x.layer) is not type(y.layer):
        changes.append(f"type {x.layer.TYPE_NAMES[0]} -> {y.layer.TYPE_NAMES[0]}")
    elif x.layer.tokens() != y.layer.tokens():
        changes.append(f"parameters {_token_changes(x.layer, y.layer)}")
    for what in ("inputs", "outputs"):
        if getattr(x, what) != getattr(y, what):
            changes.append(f"{what} {', '.join(getattr(x, what))} -> {', '.join(getattr(y, what))}")
    kinds = [_precision(node) for node in (x, y)]
    if kinds[0] != kinds[1]:
        changes.append(f"{kinds[0]} -> {kinds[1]}")
    sqnr, phrase = _diff_weights(a, b, x, y, channels)
    if phrase:
        changes.append(phrase)
    bias_a, bias_b = bias_values(x), bias_values(y)
    if (bias_a is None) != (bias_b is None):
        changes.append("bias added" if bias_a is None else "bias gone")
    elif bias_a is not None and bias_b is not None and not np.array_equal(bias_a, bias_b):
        changes.append("bias" if bias_a.shape != bias_b.shape else
                       f"bias by up to {np.abs(bias_a - bias_b).max():.3g}")  # fmt: skip
    changes += _diff_tensors(x, y)
    return DiffRow("layer", x.name, CHANGED if changes else SAME, changes, sqnr)


def _diff_weights(a: Graph, b: Graph, x: Node, y: Node, channels: tuple[int, int]) -> tuple[float | None, str]:
    stored = weight_rows(x, channels[0]), weight_rows(y, channels[1])
    if stored[0] is None and stored[1] is None:
        return None, ""
    if stored[0] is None or stored[1] is None or stored[0].shape != stored[1].shape:
        return None, f"weights {_shape(stored[0])} -> {_shape(stored[1])}"
    codes = ""
    if stored[0].dtype == stored[1].dtype:
        different = int((stored[0] != stored[1]).sum())
        scale, other = (node.tensors["scale"].data if "scale" in node.tensors else None for node in (x, y))
        if not different and (scale is None or (other is not None and np.array_equal(scale, other))):
            return None, ""
        codes = f"{different} of {stored[0].size} {'codes' if stored[0].dtype == np.int8 else 'values'} differ, "
    before, after = (real_weights(node, count, graph.scales.get(node.inputs[0]))
                     for node, count, graph in ((x, channels[0], a), (y, channels[1], b)))  # fmt: skip
    if before is None or after is None:
        return None, ""
    sqnr = round(sqnr_db(before, after), 2)
    return sqnr, f"weights: {codes}{sqnr:.1f} dB"


def _diff_tensors(x: Node, y: Node) -> list[str]:
    """Tensors other than weights, bias and their scales."""
    usual = {"filter", "weight", "bias", "scale", "zero_point"}
    changes = []
    for name in dict.fromkeys((*x.tensors, *y.tensors)):
        mine, theirs = x.tensors.get(name), y.tensors.get(name)
        if name not in usual and (mine is None or theirs is None or not np.array_equal(mine.data, theirs.data)):
            changes.append(f"tensor {name}")
    return changes


def _diff_scales(a: Mapping[str, QuantParams], b: Mapping[str, QuantParams]) -> list[DiffRow]:
    if not a or not b:
        return []
    rows = []
    for name in dict.fromkeys((*a, *b)):
        if name not in b or name not in a:
            rows.append(DiffRow("blob", name, ONLY_A if name in a else ONLY_B))
            continue
        changes, ratio = [], None
        if a[name].scale.shape != b[name].scale.shape:
            changes.append(f"{a[name].scale.size} scales -> {b[name].scale.size}")
        elif not np.array_equal(a[name].scale, b[name].scale):
            alive = (a[name].scale > 0) & (b[name].scale > 0)
            ratios = b[name].scale[alive].astype(np.float64) / a[name].scale[alive]
            if ratios.size:
                ratio = float(f"{ratios.min():.6g}"), float(f"{ratios.max():.6g}")
            changes.append("scales" + (f" times {ratio[0]:.4g}..{ratio[1]:.4g}" if ratio else " of dead channels"))
        if a[name].zero_point.shape == b[name].zero_point.shape and (a[name].zero_point != b[name].zero_point).any():
            changes.append("zero points")
        rows.append(DiffRow("blob", name, CHANGED if changes else SAME, changes, None, ratio))
    return rows


def _token_changes(x: Layer, y: Layer) -> str:
    import dataclasses

    pairs = [(entry.name, getattr(x, entry.name), getattr(y, entry.name)) for entry in dataclasses.fields(x)]
    return ", ".join(f"{name} {_value(old)} -> {_value(new)}" for name, old, new in pairs if old != new)


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


def _precision(node: Node) -> str:
    return "int8" if node.quantized else ("dynamic" if node.dynamic_range else "fp32")


def _shape(rows: np.ndarray | None) -> str:
    return "none" if rows is None else "x".join(map(str, rows.shape))


def _listed(dims: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in dims.items())
