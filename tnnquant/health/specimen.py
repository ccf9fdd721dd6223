"""Small networks with fixed pseudo-random weights, to try kernels on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.graph import Graph, InputSpec, Node, Resource
from tnnquant.layers.base import layer_type

__all__ = ["Specimen", "everyday_network"]


class Specimen:
    """Builds a graph; each method adds a layer and returns the name of its output blob.

    Parameters
    ----------
    dims : tuple of int
        Of the only input, ``x``.
    seed : int
    """

    def __init__(self, dims: tuple[int, ...], seed: int = 1):
        self.rng = np.random.default_rng(seed)
        self.inputs = {"x": InputSpec(dims)}
        self.nodes: list[Node] = []

    def add(
        self, kind: str, sources: str | Sequence[str], tensors: Mapping[str, np.ndarray] | None = None,
        outputs: int = 1, **params: Any,
    ) -> str:  # fmt: skip
        """A layer of a type; ``tensors``: arrays of its resource."""
        layer = layer_type(kind)
        name = f"{layer.TYPE_NAMES[0].lower()}{len(self.nodes)}"
        resource = None
        if tensors is not None:
            stored = {key: Tensor.from_array(value, with_dims=False) for key, value in tensors.items()}
            resource = Resource(stored, {"name": name, "has_bias": "bias" in tensors}, kind)
        made = tuple(f"{name}_{i}" for i in range(outputs))
        sources = (sources,) if isinstance(sources, str) else tuple(sources)
        self.nodes.append(Node(name, kind, layer(**params), sources, made, resource))
        return made[0]

    def conv(
        self, source: str, channels: int, out: int, kernel: int = 3, kind: str = "Convolution", **params: int
    ) -> str:
        """A convolution; ``group``, ``stride``, ``pad`` and ``activation_type`` may be given."""
        group, stride = params.pop("group", 1), params.pop("stride", 1)
        pad = params.pop("pad", kernel // 2)
        shape = (out, channels // group, kernel, kernel)
        weight = self.rng.standard_normal(shape).astype(np.float32) * np.float32((2 * group / channels) ** 0.5 / kernel)
        bias = self.rng.standard_normal(out).astype(np.float32) * np.float32(0.1)
        return self.add(
            kind, source, {"filter": weight, "bias": bias}, group=group, input_channel=channels // group,
            output_channel=out, kernel_h=kernel, kernel_w=kernel, stride_h=stride, stride_w=stride, pad_h=pad,
            pad_w=pad, bias=1, pad_type=-1, **params,
        )  # fmt: skip

    def pool(self, source: str, kind: int = 0, kernel: int = 2, stride: int = 2) -> str:
        """A maximum (0) or average (1) pooling; a kernel of 0 covers everything."""
        return self.add("Pooling", source, pool_type=kind, kernel_h=kernel, kernel_w=kernel, stride_h=stride,
                        stride_w=stride, pad_h=0, pad_w=0, pad_type=-1)  # fmt: skip

    def dense(self, source: str, length: int, count: int) -> str:
        """An inner product."""
        weight = self.rng.standard_normal((count, length)).astype(np.float32) * np.float32(length**-0.5)
        bias = self.rng.standard_normal(count).astype(np.float32) * np.float32(0.1)
        return self.add("InnerProduct", source, {"weight": weight, "bias": bias}, num_output=count, has_bias=1,
                        transpose=0, axis=1)  # fmt: skip

    def graph(self, *outputs: str) -> Graph:
        """The graph so far."""
        return Graph(self.inputs, tuple(sorted(outputs)), tuple(self.nodes))


def everyday_network() -> Graph:
    """The layers that vision models are made of, each at least once."""
    net = Specimen((1, 3, 40, 36))
    stem = net.add("ReLU", net.conv("x", 3, 16, stride=2))
    wide = net.add("ReLU6", net.conv(stem, 16, 48, kernel=1))
    deep = net.conv(wide, 48, 48, group=48, activation_type=2)
    back = net.conv(deep, 48, 16, kernel=1)
    total = net.add("Add", [back, stem])
    pooled = net.pool(total)
    split = net.conv(pooled, 16, 16, group=2)
    gate = net.add("Mul", [split, net.add("Sigmoid", split)])
    joined = net.add("Concat", [net.conv(gate, 16, 8, kernel=1), net.add("HardSwish", pooled)], axis=1)
    large = net.add("Upsample", joined, mode=1, scale_h=2.0, scale_w=2.0)
    larger = net.add("Upsample", joined, mode=2, scale_h=2.0, scale_w=2.0)
    both = net.add("Add", [large, larger])
    up = net.conv(net.pool(both), 24, 12, kernel=2, stride=2, pad=0, kind="Deconvolution")
    mean = net.pool(net.conv(up, 12, 24, stride=2), kind=1, kernel=0, stride=1)
    return net.graph(net.add("Softmax", net.dense(mean, 24, 10), axis=1), up)
