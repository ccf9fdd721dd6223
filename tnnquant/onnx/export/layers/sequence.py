"""LSTM."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tnnquant.graph import Node
from tnnquant.layers.lstm import LSTMONNX
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.registry import exports

__all__: list[str] = []


@exports("LSTMONNX")
def lstm(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """ONNX has an axis of directions where TNN puts both side by side."""
    layer = node.layer.expect(LSTMONNX)
    steps, batch, *rest = b.dims(node.inputs[0])
    dirs, hidden = layer.directions, layer.hidden_size
    state = (dirs, batch, hidden)
    wanted = [
        (steps, batch, prod(rest)), (dirs, 4 * hidden, prod(rest)), (dirs, 4 * hidden, hidden), (dirs, 8 * hidden),
        state, state,
    ]  # fmt: skip
    names: list[str | None] = [
        name if b.dims(blob) == dims else b.reshape(name, dims)
        for name, blob, dims in zip(x, node.inputs, wanted, strict=False)
    ]
    if len(names) > 4:
        names.insert(4, None)
    every = b.unused(f"{b.scope}/every")
    outputs = [every, *y[1:3]]
    direction = ("forward", "reverse", "bidirectional")[layer.direction]
    b.ops("LSTM", names, outputs, hidden_size=hidden, direction=direction)
    aside = b.op("Transpose", every, perm=(0, 2, 1, 3))
    b.reshape(aside, (steps, batch, dirs * hidden), to=y[0])
