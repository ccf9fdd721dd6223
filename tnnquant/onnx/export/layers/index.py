"""Places and values: gathering, scattering, the largest, counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.layers.gather import Gather, GatherND, stored_array
from tnnquant.layers.index import Histogram, OneHot
from tnnquant.layers.nms import NonMaxSuppression
from tnnquant.layers.scatter import Scatter, ScatterElements
from tnnquant.layers.topk import ArgMaxOrMin, TopK
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.layers.reduction import reduced
from tnnquant.onnx.export.registry import exports

__all__: list[str] = []


def _int64(b: Builder, x: str) -> str:
    return b.cast(x, DataType.INT64)


def _int32(b: Builder, x: str, to: str) -> None:
    b.cast(x, DataType.INT32, to=to)


@exports("Gather")
def gather(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Data or indices may lie in the model file."""
    layer = node.layer.expect(Gather)
    tensors = node.tensors
    data = b.constant(_array(tensors["data"]), "data") if layer.data_in_resource else x[0]
    if layer.indices_in_resource:
        indices = b.constant(stored_array(tensors["indices"]).astype(np.int64), "indices")
    else:
        indices = x[-1] if b.specs[node.inputs[-1]].dtype in (DataType.INT32, DataType.INT64) else _int64(b, x[-1])
    b.op("Gather", data, indices, to=y[0], axis=layer.axis)


def _array(tensor: Any) -> np.ndarray:
    array = stored_array(tensor)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


@exports("GatherND")
def gather_nd(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """By vectors of indices."""
    layer = node.layer.expect(GatherND)
    b.op("GatherND", x[0], _int64(b, x[-1]), to=y[0], batch_dims=layer.batch_dims)


def _indices_and_updates(b: Builder, node: Node, x: Sequence[str]) -> tuple[str, str]:
    tensors = node.tensors
    indices = (
        b.constant(stored_array(tensors["indices"]).astype(np.int64), "indices")
        if "indices" in tensors
        else _int64(b, x[1])
    )
    return indices, b.constant(_array(tensors["updates"]), "updates") if "updates" in tensors else x[-1]


@exports("Scatter")
def scatter(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """ScatterElements."""
    layer = node.layer.expect(Scatter)
    b.op("ScatterElements", x[0], *_indices_and_updates(b, node, x), to=y[0], axis=layer.axis)


@exports("ScatterElements")
def scatter_elements(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Replacing or, from opset 16 on, adding."""
    layer = node.layer.expect(ScatterElements)
    if layer.axis < 0:
        raise UnsupportedLayerError("a negative axis, of which TNN ignores the indices")
    if layer.op and b.opset < 16:
        raise UnsupportedLayerError("ScatterElements that adds needs opset 16")
    b.op(
        "ScatterElements", x[0], _int64(b, x[1]), x[2], to=y[0], axis=layer.axis, reduction="add" if layer.op else None
    )


@exports("ScatterND")
def scatter_nd(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """ScatterND."""
    b.op("ScatterND", x[0], *_indices_and_updates(b, node, x), to=y[0])


@exports("ArgMaxOrMin")
def arg_max_or_min(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """The first of the largest or smallest."""
    layer = node.layer.expect(ArgMaxOrMin)
    kind = "ArgMax" if layer.mode else "ArgMin"
    _int32(b, b.op(kind, x[0], axis=layer.axis, keepdims=int(bool(layer.keep_dims))), y[0])


@exports("TopK")
def top_k(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Best first; worst first if TNN is not asked to sort."""
    layer = node.layer.expect(TopK)
    k = b.dims(node.outputs[0])[layer.axis]
    pair = [b.unused(f"{b.scope}/{name}") for name in ("values", "places")]
    b.ops("TopK", [x[0], b.ints(k)], pair, axis=layer.axis, largest=int(bool(layer.largest)), sorted=1)
    if not layer.sorted:
        backwards = b.constant(np.arange(k - 1, -1, -1))
        pair = [b.op("Gather", name, backwards, axis=layer.axis) for name in pair]
    b.op("Identity", pair[0], to=y[0])
    if len(y) > 1:
        _int32(b, pair[1], y[1])


@exports("OneHot")
def one_hot(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Depth and values are known."""
    layer = node.layer.expect(OneHot)
    depth, values = b.scalar(layer.depth, np.int64), b.floats(layer.value_off, layer.value_on)
    b.op("OneHot", _int64(b, x[0]), depth, values, to=y[0], axis=layer.axis)


@exports("NonZero")
def non_zero(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Coordinates, a row per axis."""
    _int32(b, b.op("NonZero", x[0]), y[0])


@exports("Histogram")
def histogram(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """How often each number occurs."""
    layer = node.layer.expect(Histogram)
    column = b.reshape(b.cast(x[0], DataType.INT32), (-1, 1))
    same = b.op("Equal", column, b.constant(np.arange(layer.depth, dtype=np.int32)))
    reduced(b, "ReduceSum", b.cast(same, DataType.INT32), [0], to=y[0], keep_dims=False)


@exports("NonMaxSuppression")
def non_max_suppression(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """The same operator."""
    layer = node.layer.expect(NonMaxSuppression)
    found = b.op(
        "NonMaxSuppression", x[0], x[1], b.ints(layer.max_output_boxes_per_class), b.floats(layer.iou_threshold),
        b.floats(layer.score_threshold), center_point_box=int(bool(layer.center_point_box)),
    )  # fmt: skip
    _int32(b, found, y[0])
