"""All 256 codes for the output of a ReLU, in a format whose zero points are 0.

A blob behind a ReLU uses the codes 0..127 only. But int8 codes saturate: a convolution whose bias is lowered by 128
steps of its output gives ``max(y, 0) / scale - 128`` without any activation, since what is below -128 becomes -128; a
ReLU6 is cut off at 127 in the same way. The layers that read the blob add the 128 steps of each channel, through
their weights, to their own bias. That is exact as long as no reader pads its input: padding has the code 0, which
would no longer mean 0.

The code that means 0 is -127 where max pooling is on the way: TNN's starts from -127.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tnnquant.graph import Graph, Node
from tnnquant.infer import Inference
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.plan import QuantPlan
from tnnquant.recipes.slots import ScaleSlots

__all__ = ["highest_codes", "limits", "zero_codes"]

RELU, RELU6 = 1, 2
CEILING = 6.0
_LOWEST, _POOLED = -128, -127
_HIGHEST = 127


def zero_codes(inference: Inference, plan: QuantPlan, slots: ScaleSlots) -> np.ndarray:
    """The code that means 0 in each slot, int64 (slots.count,): 0 where the trick cannot be used.

    A slot can be shifted if all its blobs are made by int8 convolutions with a ReLU or ReLU6, or pass such codes on by
    max pooling or concat, and are read by int8 convolutions that do not pad alone.
    """
    graph, specs = inference.graph, inference.specs
    makers = graph.producers()
    positions = {node.name: position for position, node in enumerate(graph.nodes)}
    zero = np.full(slots.count, _LOWEST, np.int64)
    for blob, of in slots.of.items():
        maker = makers.get(blob)
        if maker is None or positions[maker.name] not in plan.int8 or blob in graph.outputs:
            zero[of] = 0
        elif maker.layer.role == QuantRole.PASS:
            is_pool = hasattr(maker.layer, "pool_type")
            zero[of] = np.maximum(zero[of], _POOLED) if is_pool else 0
        elif maker.layer.role == QuantRole.WEIGHTED:
            if getattr(maker.layer, "activation_type", 0) not in (RELU, RELU6) or of.size == 1:
                zero[of] = 0
        elif not maker.layer.JOINS_CHANNELS:
            zero[of] = 0
    for reader in slots.readers:
        node = reader.node
        if node is None or not reader.quantized or node.layer.role != QuantRole.WEIGHTED or _pads(node, specs):
            zero[slots.of[reader.blob]] = 0
    return zero


def _pads(node: Node, specs: Mapping[str, BlobSpec]) -> bool:
    """Whether a window of the layer, resolved, reaches beyond the input."""
    layer, size = node.layer, specs[node.inputs[0]].dims
    if not hasattr(layer, "kernel_h"):
        return True  # an inner product: its input has one scale, nothing to gain
    out = specs[node.outputs[0]].dims
    reach_h = (out[2] - 1) * layer.stride_h - layer.pad_h + layer.dilation_h * (layer.kernel_h - 1)
    reach_w = (out[3] - 1) * layer.stride_w - layer.pad_w + layer.dilation_h * (layer.kernel_w - 1)
    return layer.pad_h > 0 or layer.pad_w > 0 or reach_h >= size[2] or reach_w >= size[3]


def highest_codes(zero: np.ndarray) -> np.ndarray:
    """Steps from 0 to the largest code of each slot: 127, 254 or 255."""
    return _HIGHEST - zero


def limits(graph: Graph, slots: ScaleSlots) -> np.ndarray:
    """The largest magnitude that can be met in each slot, float64 (slots.count,): 6 behind a ReLU6, else infinite.

    Where saturation replaces the ReLU6, the largest code must not mean more.
    """
    most = np.full(slots.count, np.inf)
    for node in graph.nodes:
        if getattr(node.layer, "activation_type", 0) == RELU6 and node.outputs[0] in slots.of:
            most[slots.of[node.outputs[0]]] = CEILING
    return most
