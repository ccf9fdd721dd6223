"""Layers that an int8 import puts in: a summand per channel, a border, a layer that only rounds to codes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tnnquant.base.names import unused_name
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.graph import Graph, Node, Resource
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.batch_norm import BatchNorm
from tnnquant.layers.binary import Div
from tnnquant.layers.clip import Clip
from tnnquant.layers.convolution import EXPLICIT, Convolution
from tnnquant.layers.pad import Pad
from tnnquant.layers.reshape import Reshape

__all__ = ["Names", "added", "bordered", "clipped", "divided", "rounded", "scaled"]


class Names:
    """Names of blobs and layers that are not taken yet."""

    def __init__(self, graph: Graph):
        self._taken = {*graph.blob_names(), *(node.name for node in graph.nodes)}

    def new(self, wanted: str) -> str:
        """The name, or the first of ``wanted_2``, ``wanted_3``, ... that is free; it is taken from now on."""
        found = unused_name(wanted, self._taken)
        self._taken.add(found)
        return found


def added(source: str, target: str, summand: np.ndarray, names: Names) -> Node:
    """``source + summand``, one for all channels or one each; in fp32."""
    return _affine(source, target, np.ones_like(summand), summand, names.new(f"{target}_shift"))


def scaled(source: str, target: str, factor: np.ndarray, names: Names) -> Node:
    """``source * factor``, one for all channels or one each; in fp32."""
    return _affine(source, target, factor, np.zeros_like(factor), names.new(f"{target}_scale"))


def _affine(source: str, target: str, factor: np.ndarray, summand: np.ndarray, name: str) -> Node:
    tensors = {
        "scale": Tensor(np.array(factor, np.float32), (), DataType.FLOAT),
        "bias": Tensor(np.array(summand, np.float32), (), DataType.FLOAT),
    }
    resource = Resource(tensors, {}, "BatchNormCxx")
    return Node(name, "BatchNormCxx", BatchNorm(), (source,), (target,), resource)


def divided(source: str, target: str, divisor: np.ndarray, names: Names) -> Node:
    """``source / divisor``, one for all channels or one each; in fp32."""
    tensors = {"element": Tensor(np.array(divisor, np.float32), (), DataType.FLOAT)}
    resource = Resource(tensors, {}, "Div")
    return Node(names.new(f"{target}_divide"), "Div", Div(), (source,), (target,), resource)


def clipped(source: str, target: str, lowest: float, highest: float, names: Names) -> Node:
    """``source`` cut off at two whole numbers; in fp32."""
    layer = Clip(min=float(lowest), max=float(highest))
    return Node(names.new(f"{target}_clip"), "Clip", layer, (source,), (target,))


def bordered(source: str, target: str, borders: tuple[int, int, int, int], value: float, names: Names) -> Node:
    """``source`` with a border of a value around height and width (above, below, left, right); in fp32."""
    top, bottom, left, right = borders
    layer = Pad(top=top, bottom=bottom, left=left, right=right, channel_begin=0, channel_end=0, mode=0, value=value)
    return Node(names.new(f"{target}_border"), "Pad", layer, (source,), (target,))


def rounded(source: str, target: str, spec: BlobSpec, scale: np.ndarray, names: Names) -> Node:
    """An int8 layer whose result has the codes of its input, both with these scales.

    A depthwise convolution with weights of 1, which every device of TNN runs. Blobs of another rank than 4 take a
    Reshape to their own dims.
    """
    name = names.new(f"{target}_rounded")
    if len(spec.dims) != 4:
        same = Reshape(axis=0, num_axes=len(spec.dims), shape=spec.dims, reshape_type=0)
        return Node(name, "Reshape", same, (source,), (target,), quantized=True)
    count = spec.dims[1]
    layer = Convolution(
        group=count, input_channel=1, output_channel=count, kernel_h=1, kernel_w=1, stride_h=1, stride_w=1, pad_h=0,
        pad_w=0, bias=1, pad_type=EXPLICIT,
    )  # fmt: skip
    tensors = {
        "filter": Tensor(np.ones(count, np.int8), (count, 1, 1, 1), DataType.INT8),
        "bias": Tensor(np.zeros(count, np.int32), (), DataType.INT32),
        "scale": Tensor(np.array(np.broadcast_to(scale, count), np.float32), (), DataType.FLOAT),
        "zero_point": Tensor(np.zeros(count, np.int8), (), DataType.INT8),
    }
    resource = Resource(tensors, {}, "Convolution")
    return Node(name, "Convolution", layer, (source,), (target,), resource, quantized=True)


def all_equal(values: Iterable[np.ndarray]) -> bool:
    """Whether arrays are all one number."""
    return np.unique(np.concatenate([np.reshape(array, -1) for array in values] or [np.zeros(1)])).size == 1
