"""Layers that move elements: shapes, permutations, repetition, joining and cutting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.layers.concat import Concat
from tnnquant.layers.movement import INT_MIN
from tnnquant.layers.pad import Pad, PadV2
from tnnquant.layers.permute import Permute
from tnnquant.layers.reshape import Flatten, Reshape
from tnnquant.layers.shuffle import PixelShuffle, Reorg, ShuffleChannel
from tnnquant.layers.slice import StridedSlice, StridedSliceV2
from tnnquant.layers.split import SplitV
from tnnquant.onnx.export.builder import INT64_MAX, Builder
from tnnquant.onnx.export.registry import exports

__all__: list[str] = []

NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
DEPTH_COLUMN_ROW = 0


@exports("Reshape")
def reshape(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Reshape; in TensorFlow's order between two transpositions."""
    layer = node.layer.expect(Reshape)
    dims, out = b.dims(node.inputs[0]), b.dims(node.outputs[0])
    if layer.reshape_type != 1:
        b.reshape(x[0], out, to=y[0])
        return
    source, (n, c, h, w) = (*dims, *(1,) * (4 - len(dims))), (*out, *(1,) * (4 - len(out)))
    rows = b.op("Transpose", b.reshape(x[0], source), perm=NHWC)
    b.reshape(b.op("Transpose", b.reshape(rows, (n, h, w, c)), perm=NCHW), out, to=y[0])


@exports("Flatten", "Squeeze", "Unsqueeze")
def other_dims(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """The same elements under other dims, which are known."""
    out = b.dims(node.outputs[0])
    if isinstance(node.layer, Flatten):
        b.op("Flatten", x[0], to=y[0], axis=node.layer.axis)
    else:
        b.reshape(x[0], out, to=y[0])


@exports("Permute")
def permute(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Transpose."""
    layer = node.layer.expect(Permute)
    b.op("Transpose", x[0], to=y[0], perm=layer.orders)


@exports("ShuffleChannel")
def shuffle_channel(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Channels, seen as a matrix, transposed."""
    layer = node.layer.expect(ShuffleChannel)
    dims = b.dims(node.inputs[0])
    split = (dims[0], layer.group, dims[1] // layer.group, *dims[2:])
    order = (0, 2, 1, *range(3, len(split)))
    b.reshape(b.op("Transpose", b.reshape(x[0], split), perm=order), dims, to=y[0])


@exports("PixelShuffle")
def pixel_shuffle(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """DepthToSpace."""
    layer = node.layer.expect(PixelShuffle)
    b.op("DepthToSpace", x[0], to=y[0], blocksize=layer.upscale_factor, mode="CRD")


@exports("Reorg")
def reorg(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """DepthToSpace or SpaceToDepth, of which ONNX has the first kind alone."""
    layer = node.layer.expect(Reorg)
    block, column_first = layer.stride, layer.mode == DEPTH_COLUMN_ROW
    if layer.to_space:
        b.op("DepthToSpace", x[0], to=y[0], blocksize=block, mode="DCR" if column_first else "CRD")
    elif column_first:
        b.op("SpaceToDepth", x[0], to=y[0], blocksize=block)
    else:
        n, c, h, w = b.dims(node.inputs[0])
        split = b.reshape(x[0], (n, c, h // block, block, w // block, block))
        b.reshape(b.op("Transpose", split, perm=(0, 1, 3, 5, 2, 4)), b.dims(node.outputs[0]), to=y[0])


@exports("Expand")
def expand(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Expand."""
    dims, out = b.dims(node.inputs[0]), b.dims(node.outputs[0])
    if any(have not in (1, want) for have, want in zip(dims[::-1], out[::-1], strict=False)):
        raise UnsupportedLayerError(f"expands {dims} to {out}: an axis that is not 1 changes its size")
    b.op("Expand", x[0], b.ints(*out), to=y[0])


@exports("Tile")
def tile(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Tile of as many dims as repetitions."""
    dims, out = b.dims(node.inputs[0]), b.dims(node.outputs[0])
    padded = (*(1,) * (len(out) - len(dims)), *dims)
    source = x[0] if padded == dims else b.reshape(x[0], padded)
    b.op("Tile", source, b.ints(*(m // n for m, n in zip(out, padded, strict=True))), to=y[0])


@exports("Concat")
def concat(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Concat, without empty inputs."""
    layer = node.layer.expect(Concat)
    filled = [name for name, blob in zip(x, node.inputs, strict=True) if 0 not in b.dims(blob)]
    wanted = b.specs[node.outputs[0]].dtype
    if not node.quantized:
        kinds = {name: b.specs[blob].dtype for name, blob in zip(x, node.inputs, strict=True)}
        filled = [name if kinds[name] == wanted else b.cast(name, wanted) for name in filled]
    b.op("Concat", *(filled or x[:1]), to=y[0], axis=layer.axis)


@exports("SplitV")
def split(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Split into pieces of given sizes."""
    layer = node.layer.expect(SplitV)
    outputs = [*y, *(b.unused(f"{b.scope}/unread") for _ in layer.slices[len(y) :])]
    b.ops("Split", [x[0], b.ints(*layer.slices)], outputs, axis=layer.axis)


@exports("StridedSlice")
def strided_slice(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Slice of every axis."""
    layer = node.layer.expect(StridedSlice)
    dims, out = b.dims(node.inputs[0]), b.dims(node.outputs[0])
    begins = [begin + size if begin < 0 else begin for begin, size in zip(layer.begins, dims, strict=True)]
    ends = [begin + (n - 1) * step + 1 for begin, n, step in zip(begins, out, layer.strides, strict=True)]
    _slice(b, x[0], y[0], begins, ends, range(len(dims)), layer.strides)


@exports("StridedSliceV2")
def strided_slice_v2(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Slice of some axes; the layer is resolved."""
    layer = node.layer.expect(StridedSliceV2)
    rank = len(b.dims(node.inputs[0]))
    axes = [axis % rank for axis in layer.axes]
    ends = [-INT64_MAX if end == INT_MIN else end for end in layer.ends]
    _slice(b, x[0], y[0], layer.begins, ends, axes, layer.strides)


def _slice(
    b: Builder, x: str, to: str, begins: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]
) -> None:
    b.op("Slice", x, *(b.ints(*values) for values in (begins, ends, axes, steps)), to=to)


@exports("Pad")
def pad(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Height, width and channels."""
    layer = node.layer.expect(Pad)
    sizes = (
        layer.channel_begin, layer.top, layer.left, layer.channel_end, layer.bottom, layer.right
    )  # fmt: skip
    c0, top, left, c1, bottom, right = (0 if size == INT_MIN else size for size in sizes)
    _pad(b, node, layer, x[0], y[0], [0, c0, top, left, 0, c1, bottom, right])


@exports("PadV2")
def pad_v2(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """The first axes."""
    layer = node.layer.expect(PadV2)
    rank, count = len(b.dims(node.inputs[0])), len(layer.pads) // 2
    begins, ends = ([*layer.pads[i * count : (i + 1) * count], *(0,) * rank][:rank] for i in (0, 1))
    _pad(b, node, layer, x[0], y[0], [*begins, *ends])


def _pad(b: Builder, node: Node, layer: Pad | PadV2, x: str, to: str, borders: Sequence[int]) -> None:
    mode = ("constant", "reflect", "edge")[layer.mode]
    dtype = b.specs[node.inputs[0]].dtype
    value = np.array(layer.value, np.float32)
    if dtype == DataType.INT32:
        value = value.view(np.int32)  # TNN's kernel takes all types of four bytes for floats
    elif dtype == DataType.INT8 and not node.quantized:
        value = value.astype(np.int8)
    b.op("Pad", x, b.ints(*borders), b.constant(value) if mode == "constant" else None, to=to, mode=mode)
