"""Graph passes that TNN applies when it loads a model, and so before it calibrates (docs/tnn-format.md, 6.6).

:func:`prepare_for_quantization` gives the structure that is calibrated and finally saved: the same layers in the same
order as TNN's tool, with these departures, each where TNN's own pass makes a wrong or unusable model:

- a swish (``Swish``, or ``Sigmoid`` and ``Mul``) is not fused into a 2-D convolution, because TNN's int8 convolution
  ignores it; it becomes one ``Swish`` layer after the convolution, and a swish already fused is taken out again;
- an activation is fused only if it reads the convolution's output, and only if that output is not a model output;
- a ``Sigmoid`` is never dropped when the fusion then fails.
"""

from __future__ import annotations

import numpy as np

from tnnquant.base.names import unused_name
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import located
from tnnquant.kernels.geometry import SWISH
from tnnquant.layers.activation import Sigmoid, Swish
from tnnquant.layers.base import QuantRole
from tnnquant.layers.binary import Add, Mul
from tnnquant.layers.weighted import FusesActivation

__all__ = [
    "fuse_activations", "fuse_swish", "is_fused_swish", "is_sigmoid_mul", "prepare_for_quantization",
    "widen_dynamic_range",
]  # fmt: skip

#: Appended to the name of an int8 constant of a dynamic-range layer: the name of its scale.
CONSTANT_SCALE = "_dynamic_range_quant_scale"


def prepare_for_quantization(graph: Graph) -> Graph:
    """Every pass that precedes calibration, in TNN's order."""
    return split_fused_swish(fuse_activations(widen_dynamic_range(graph)))


def widen_dynamic_range(graph: Graph) -> Graph:
    """Layers with int8 weights and fp32 arithmetic get fp32 weights (docs/tnn-format.md, 2.5 and 6.6, order 1)."""

    def widened(node: Node) -> Node:
        if not node.dynamic_range:
            return node
        with located(node):
            wide = node.with_tensors(node.layer.widened(node.tensors)) if node.resource else node
        return wide.replace(dynamic_range=False, type_string=node.layer.TYPE_NAMES[0])

    if not any(node.dynamic_range for node in graph.nodes):
        return graph
    constants = dict(graph.constants)
    for blob in {blob for node in graph.nodes if node.dynamic_range for blob in node.inputs}:
        scale = constants.pop(blob + CONSTANT_SCALE, None)
        if scale is not None and scale.size and constants[blob].dtype == DataType.INT8:
            stored = constants[blob]
            constants[blob] = Tensor(stored.data.astype(np.float32) * scale.float32()[0], stored.dims)
    return graph.with_nodes(widened(node) for node in graph.nodes).replace(constants=constants)


def fuse_activations(graph: Graph) -> Graph:
    """Fuse ReLU and ReLU6 into the convolution right before them; make one layer of Sigmoid and Mul.

    Convolutions that are never int8 (deconvolution, 1-D, 3-D) take a swish too, as in TNN.
    """
    last_reader = {blob: position for position, node in enumerate(graph.nodes) for blob in node.inputs}
    result: list[Node] = []
    position = 0
    while position < len(graph.nodes):
        activation, length = _activation_at(graph, position)
        previous = result[-1] if result else None
        if (
            activation is not None
            and previous is not None
            and previous is graph.nodes[position - 1]
            and _is_free(previous)
            and activation.inputs == previous.outputs
            and last_reader[previous.outputs[0]] == position + length - 1
            and previous.outputs[0] not in graph.outputs
        ):
            result[-1:] = _merged(previous, activation)
        elif activation is not None:
            result += [activation] if _loses_sigmoid(previous) else graph.nodes[position : position + length]
        else:
            result.append(graph.nodes[position])
        position += length
    return graph.with_nodes(result)


def fuse_swish(graph: Graph) -> Graph:
    """Fuse a swish into the fp32 2-D convolution right before it, as TNN does on ARM and naive: there it may be another
    function than a swish of its own."""
    result: list[Node] = []
    for position, node in enumerate(graph.nodes):
        if is_fused_swish(graph, position):
            previous = result[-1]
            layer = previous.layer.expect(FusesActivation).with_activation(SWISH)
            result[-1] = previous.replace(layer=layer, outputs=node.outputs)
        else:
            result.append(node)
    return graph.with_nodes(result)


def is_fused_swish(graph: Graph, position: int) -> bool:
    """Whether a swish stands here that TNN fuses into the fp32 convolution right before it."""
    node, previous = graph.nodes[position], graph.nodes[position - 1]
    return (
        position > 0
        and node.layer.ACTIVATION_CODE == SWISH
        and not previous.quantized
        and _is_free(previous)
        and node.inputs == previous.outputs
        and previous.outputs[0] not in graph.outputs
        and not any(previous.outputs[0] in later.inputs for later in graph.nodes[position + 1 :])
    )


def split_fused_swish(graph: Graph) -> Graph:
    """Take a swish out of the 2-D convolutions it is fused into in the file."""
    taken = set(graph.blob_names())
    result: list[Node] = []
    for node in graph.nodes:
        layer = node.layer
        if layer.role == QuantRole.WEIGHTED and isinstance(layer, FusesActivation) and layer.activation_type == SWISH:
            inner = _unused(f"{node.outputs[0]}_linear", taken)
            result.append(node.replace(layer=layer.with_activation(0), outputs=(inner,)))
            result.append(_swish(f"{node.name}_swish", inner, node.outputs[0]))
        else:
            result.append(node)
    return graph.with_nodes(result)


def _activation_at(graph: Graph, position: int) -> tuple[Node | None, int]:
    """The activation that starts at ``position``, as one node, and how many nodes it spans."""
    node = graph.nodes[position]
    if len(node.inputs) != 1:
        return None, 1
    if node.layer.ACTIVATION_CODE:
        return node, 1
    if is_sigmoid_mul(graph, position, node.inputs[0]):
        product = graph.nodes[position + 1]
        private = node.outputs[0] not in graph.outputs and not any(
            node.outputs[0] in later.inputs for later in graph.nodes[position + 2 :]
        )
        if private:
            return _swish(product.name, node.inputs[0], product.outputs[0]), 2
    return None, 1


def is_sigmoid_mul(graph: Graph, position: int, source: str) -> bool:
    """Whether a Sigmoid stands here, and after it the product of ``source`` and its output, in this order."""
    if position + 1 >= len(graph.nodes):
        return False
    node, product = graph.nodes[position : position + 2]
    return (
        isinstance(node.layer, Sigmoid)
        and isinstance(product.layer, Mul)
        and product.resource is None
        and product.inputs == (source, node.outputs[0])
    )


def _loses_sigmoid(previous: Node | None) -> bool:
    """Whether TNN drops the Sigmoid of a Sigmoid and Mul after this layer when it cannot fuse the two (6.6).

    After a convolution; an int8 add may have been fused into one by then.
    """
    return previous is not None and isinstance(previous.layer, (FusesActivation, Add))


def _is_free(node: Node) -> bool:
    """Whether the node is of the convolution family, with one output and no activation yet."""
    return isinstance(node.layer, FusesActivation) and node.layer.activation_type == 0 and len(node.outputs) == 1


def _merged(convolution: Node, activation: Node) -> list[Node]:
    code = activation.layer.ACTIVATION_CODE
    if code == SWISH and convolution.layer.role == QuantRole.WEIGHTED:
        return [convolution, activation]
    layer = convolution.layer.expect(FusesActivation)
    return [convolution.replace(layer=layer.with_activation(code), outputs=activation.outputs)]


def _swish(name: str, source: str, target: str) -> Node:
    return Node(name, Swish.TYPE_NAMES[0], Swish(), (source,), (target,))


def _unused(name: str, taken: set[str]) -> str:
    found = unused_name(name, taken)
    taken.add(found)
    return found
