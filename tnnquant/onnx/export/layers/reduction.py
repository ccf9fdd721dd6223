"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Sequence

from tnnquant.base.tensor import DataType
from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.layers.reduce import Reduction
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.registry import exports

__all__ = ["reduced"]

_KINDS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
#: Those that mean the same for integers in TNN and in ONNX.
_OF_INTEGERS = ("ReduceL1", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")


def reduced(
    b: Builder, kind: str, x: str, axes: Sequence[int], to: str | None = None, *, keep_dims: bool = True
) -> str:
    """A reduction; its axes are an input from opset 18 on, those of ReduceSum from 13 on."""
    if b.opset >= 18 or kind == "ReduceSum":
        return b.op(kind, x, b.ints(*axes), to=to, keepdims=int(keep_dims))
    return b.op(kind, x, to=to, axes=list(axes), keepdims=int(keep_dims))


@exports(*_KINDS)
def reduction(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Over the axes of the layer, which is resolved."""
    layer = node.layer.expect(Reduction)
    kind, spec = layer.TYPE_NAMES[0], b.specs[node.inputs[0]]
    if spec.dtype == DataType.INT32 and kind not in _OF_INTEGERS:
        raise UnsupportedLayerError("of INT32 TNN cuts fractions off at every step, ONNX does not")
    if not spec.dims:
        b.op("Identity", x[0], to=y[0])
        return
    reduced(b, kind, x[0], sorted(set(layer.axes)), to=y[0], keep_dims=bool(layer.keep_dims))
