"""Activations that an exporter wrote as arithmetic: Swish, HardSigmoid, HardSwish, GELU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from tnnquant.graph import Node
from tnnquant.layers.activation import HardSigmoid, Sigmoid
from tnnquant.layers.base import Layer
from tnnquant.layers.binary import Add, Div, Mul
from tnnquant.layers.clip import Clip, Relu6
from tnnquant.layers.unary import Erf
from tnnquant.onnx.patterns.net import Net, new_node

__all__ = ["find_gelu", "find_hard_sigmoid", "find_hard_swish", "find_swish", "reader"]

_Gate = TypeVar("_Gate", bound=Layer)

#: Relative distance within which a constant counts as the one of a formula.
_NEAR = 1e-5


def _is(value: float | None, wanted: float) -> bool:
    return value is not None and abs(value - wanted) <= _NEAR * abs(wanted)


def find_swish(net: Net) -> None:
    """``x * Sigmoid(x)``."""
    _gated(net, Sigmoid, lambda gate: ("Swish", ()))


def find_hard_swish(net: Net) -> None:
    """``x * HardSigmoid(x)``; and the product taken before the division by 6."""
    _gated(net, HardSigmoid, lambda gate: ("HardSwish", (gate.alpha, gate.beta)))
    for node in list(net.nodes):
        if node is None or not _is(_factor(net, node), 1 / 6):
            continue
        product = net.private_maker(node.inputs[0], Mul)
        if product is None or len(product.inputs) != 2:
            continue
        for x, gate in (product.inputs, product.inputs[::-1]):
            clip = _six(net, net.private_maker(gate))
            shifted = net.private_maker(clip.inputs[0], Add) if clip is not None else None
            if clip is None or shifted is None or shifted.inputs[0] != x:
                continue
            if _is(net.scalar(shifted, Add), 3):
                for gone in (shifted, clip, product):
                    net.remove(gone)
                net.replace(node, new_node("HardSwish", node, (x,), (1 / 6, 0.5)))
                break


def _gated(net: Net, kind: type[_Gate], made: Callable[[_Gate], tuple[str, tuple[float, ...]]]) -> None:
    for node in list(net.nodes):
        if node is None or not isinstance(node.layer, Mul) or len(node.inputs) != 2:
            continue
        for x, gate in (node.inputs, node.inputs[::-1]):
            maker = net.private_maker(gate, kind)
            if maker is not None and maker.inputs == (x,):
                name, params = made(maker.layer.expect(kind))
                net.remove(maker)
                net.replace(node, new_node(name, node, (x,), params))
                break


def _factor(net: Net, node: Node) -> float | None:
    """The number that a layer multiplies its input by, if it is one that does."""
    product = net.scalar(node, Mul)
    if product is not None:
        return product
    divisor = net.scalar(node, Div, 1)
    return 1 / divisor if divisor else None


def _six(net: Net, node: Node | None) -> Node | None:
    """The layer if it bounds by 0 and 6."""
    if node is None:
        return None
    is_clip = isinstance(node.layer, Clip) and (node.layer.min, node.layer.max) == (0, 6)
    return node if isinstance(node.layer, Relu6) or is_clip else None


def find_hard_sigmoid(net: Net) -> None:
    """``min(max(x + 3, 0), 6) / 6``."""
    for node in list(net.nodes):
        if node is None or not _is(_factor(net, node), 1 / 6):
            continue
        clip = _six(net, net.private_maker(node.inputs[0]))
        shifted = net.private_maker(clip.inputs[0], Add) if clip else None
        if clip is not None and shifted is not None and _is(net.scalar(shifted, Add), 3):
            net.remove(shifted)
            net.remove(clip)
            net.replace(node, new_node("HardSigmoid", node, shifted.inputs, (1 / 6, 0.5)))


def find_gelu(net: Net) -> None:
    """``x / 2 * (1 + erf(x / sqrt 2))``, the half anywhere."""
    for erf in list(net.nodes):
        if erf is None or not isinstance(erf.layer, Erf):
            continue
        scaled = net.private_maker(erf.inputs[0], Mul, Div)
        if scaled is None or not _is(_factor(net, scaled), math.sqrt(0.5)):
            continue
        x = scaled.inputs[0]
        plus = reader(net, erf, Add)
        if plus is None or not _is(net.scalar(plus, Add), 1):
            continue
        product = reader(net, plus, Mul)
        if product is None or len(product.inputs) != 2:
            continue
        other = next((blob for blob in product.inputs if blob != plus.outputs[0]), "")
        if other == x:
            half = reader(net, product, Mul, Div)
            if half is not None and _is(_factor(net, half), 0.5):
                _become(net, half, x, [scaled, erf, plus, product])
            continue
        maker = net.private_maker(other, Mul, Div)
        if maker is not None and maker.inputs == (x,) and _is(_factor(net, maker), 0.5):
            _become(net, product, x, [scaled, erf, plus, maker])


def _become(net: Net, last: Node, x: str, gone: list[Node]) -> None:
    for node in gone:
        net.remove(node)
    net.replace(last, new_node("GELU", last, (x,)))


def reader(net: Net, node: Node, *kinds: type[Layer]) -> Node | None:
    """The only layer that reads what a layer makes, if it is of one of these types."""
    blob = node.outputs[0]
    readers = net.readers(blob)
    return readers[0] if net.is_private(blob) and readers and isinstance(readers[0].layer, kinds) else None



