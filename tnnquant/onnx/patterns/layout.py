"""Layers that only move elements: merged, dropped, or taken for what they mean together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tnnquant.graph import Node
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.inner_product import InnerProduct
from tnnquant.layers.pad import Pad
from tnnquant.layers.permute import Permute
from tnnquant.layers.reduce import ReduceMax
from tnnquant.layers.reshape import Reshape
from tnnquant.onnx.patterns.net import Net, new_node

__all__ = ["drop_reshapes", "find_global_maximum", "find_reorg", "find_shuffle", "merge_moves", "merge_pads"]


def _reshape(node: Node, source: str, dims: Sequence[int]) -> Node:
    return new_node("Reshape", node, (source,), (0, len(dims), tuple(dims), 0))


def merge_moves(net: Net) -> None:
    """Two Reshapes, or two Permutes, become one; what changes nothing goes."""
    for node in list(net.nodes):
        if node is None or not isinstance(node.layer, (Reshape, Permute)) or len(node.inputs) != 1:
            continue
        first = net.private_maker(node.inputs[0], type(node.layer))
        if first is None or len(first.inputs) != 1:
            continue
        source = first.inputs[0]
        if isinstance(node.layer, Permute) and isinstance(first.layer, Permute):
            order = tuple(first.layer.orders[axis] for axis in node.layer.orders)
            merged = new_node("Permute", node, (source,), (order,))
            is_nothing = order == tuple(range(len(order)))
        else:
            merged = _reshape(node, source, net.dims[node.outputs[0]])
            is_nothing = net.dims[source] == net.dims[node.outputs[0]]
        if is_nothing and node.outputs[0] not in net.outputs:
            for reader in net.readers(node.outputs[0]):
                inputs = tuple(source if blob == node.outputs[0] else blob for blob in reader.inputs)
                net.replace(reader, reader.replace(inputs=inputs))
            net.remove(node)
            net.remove(first)
        else:
            net.remove(first)
            net.replace(node, merged)


def drop_reshapes(net: Net) -> None:
    """An inner product flattens its input by itself."""
    for node in list(net.nodes):
        if node is None or not isinstance(node.layer, InnerProduct):
            continue
        moved = net.private_maker(node.inputs[0], Reshape)
        if moved is None or len(moved.inputs) != 1 or len(net.dims[moved.inputs[0]]) < 2:
            continue
        if net.dims[moved.inputs[0]][0] == net.dims[moved.outputs[0]][0]:
            net.remove(moved)
            net.replace(node, node.replace(inputs=moved.inputs))


def _moved(net: Net, node: Node | None) -> tuple[str, tuple[int, ...], tuple[int, ...]] | None:
    """Source, inner dims and order of a Reshape, Permute, Reshape that ends here; nothing else reads the first two."""
    if node is None or not isinstance(node.layer, Reshape) or len(node.inputs) != 1:
        return None
    permute = net.private_maker(node.inputs[0], Permute)
    split = net.private_maker(permute.inputs[0], Reshape) if permute is not None else None
    if permute is None or not isinstance(permute.layer, Permute) or split is None or len(split.inputs) != 1:
        return None
    return split.inputs[0], net.dims[split.outputs[0]], tuple(permute.layer.orders)


def _become(net: Net, node: Node, new: Node) -> None:
    permute = net.maker(node.inputs[0])
    assert permute is not None
    split = net.maker(permute.inputs[0])
    assert split is not None
    net.remove(split)
    net.remove(permute)
    net.replace(node, new)


def find_shuffle(net: Net) -> None:
    """Channels seen as a matrix and transposed."""
    for node in list(net.nodes):
        found = _moved(net, node)
        if found is None or node is None:
            continue
        source, inner, order = found
        dims = net.dims[source]
        if len(dims) != 4 or net.dims[node.outputs[0]] != dims or inner[0] != dims[0]:
            continue
        rows = inner[1]
        is_whole = len(inner) == 5 and order == (0, 2, 1, 3, 4) and inner[3:] == dims[2:]
        is_flat = len(inner) == 4 and order == (0, 2, 1, 3) and inner[1] * inner[2] == dims[1]
        if rows * inner[2] == dims[1] and (is_whole or is_flat):
            _become(net, node, new_node("ShuffleChannel", node, (source,), (rows,)))


def find_reorg(net: Net) -> None:
    """Depth to space and back."""
    for node in list(net.nodes):
        found = _moved(net, node)
        if found is None or node is None or len(found[1]) != 6:
            continue
        source, inner, order = found
        dims, out = net.dims[source], net.dims[node.outputs[0]]
        if len(dims) != 4 or len(out) != 4 or inner[0] != dims[0]:
            continue
        n, c, h, w = dims
        params = None
        if order == (0, 1, 4, 2, 5, 3) and inner[2] == inner[3] and inner[4:] == (h, w):
            params = (inner[2], True, 0, 1)
        elif order == (0, 3, 4, 1, 5, 2) and inner[1] == inner[2] and inner[4:] == (h, w):
            params = (inner[1], True, 0, 0)
        elif order == (0, 3, 5, 1, 2, 4) and inner[1] == c and inner[3] == inner[5] and inner[2] * inner[3] == h:
            params = (inner[3], False, 0, 0)
        elif order == (0, 1, 3, 5, 2, 4) and inner[1] == c and inner[3] == inner[5] and inner[2] * inner[3] == h:
            params = (inner[3], False, 0, 1)
        if params is None:
            continue
        b = params[0]
        wanted = (n, c // (b * b), h * b, w * b) if params[1] else (n, c * b * b, h // b, w // b)
        if out == wanted:
            _become(net, node, new_node("Reorg", node, (source,), params))


def find_global_maximum(net: Net) -> None:
    """A maximum over height and width is a pooling, which int8 can do."""
    for node in list(net.nodes):
        if node is None or not isinstance(node.layer, ReduceMax) or not node.layer.keep_dims:
            continue
        dims = net.dims[node.inputs[0]]
        if len(dims) == 4 and sorted(a % 4 for a in node.layer.axes) == [2, 3]:
            params = (0, *dims[2:], 1, 1, 0, 0, -1, -1, -1, 0, 0, 0, 0)
            net.replace(node, new_node("Pooling", node, node.inputs, params))


def merge_pads(net: Net) -> None:
    """A border of zeros before a convolution without one, where the convolution can have it itself."""
    for node in list(net.nodes):
        if node is None or not isinstance(node.layer, Convolution):
            continue
        c = node.layer
        pad = net.private_maker(node.inputs[0], Pad)
        if pad is None or not isinstance(pad.layer, Pad) or c.pad_type != -1 or c.pad_h or c.pad_w:
            continue
        p = pad.layer
        if p.mode or p.value or p.channel_begin or p.channel_end or min(p.top, p.bottom, p.left, p.right) < 0:
            continue
        layer = None
        if (p.top, p.left) == (p.bottom, p.right):
            layer = replace(c, pad_h=p.top, pad_w=p.left)
        elif _is_same(net, node, c, p):
            layer = replace(c, pad_h=p.top, pad_w=p.left, pad_type=0)
        if layer is not None:
            net.remove(pad)
            net.replace(node, node.replace(layer=layer, inputs=pad.inputs))


def _is_same(net: Net, node: Node, c: Convolution, p: Pad) -> bool:
    """Whether the border is the one that TNN's SAME has."""
    pad = net.maker(node.inputs[0])
    assert pad is not None
    sizes, out = net.dims[pad.inputs[0]][2:], net.dims[node.outputs[0]][2:]
    for size, count, kernel, stride, dilation, begin in (
        (sizes[0], out[0], c.kernel_h, c.stride_h, c.dilation_h, p.top),
        (sizes[1], out[1], c.kernel_w, c.stride_w, c.dilation_w, p.left),
    ):
        total = (count - 1) * stride + dilation * (kernel - 1) + 1 - size
        if count != -(-size // stride) or total < 0 or begin != total // 2:
            return False
    return True
