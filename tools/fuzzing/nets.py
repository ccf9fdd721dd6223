"""Small networks of several layers, which single ones are no seeds for: fusions, ties of scales, conversions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fuzzing.mutate import join_pair

if TYPE_CHECKING:
    from tnnquant.graph import Graph, Node

__all__ = ["made_nets"]

_DIMS = (1, 3, 8, 8)


class _Net:
    """A graph that grows by a layer a call."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)
        self.nodes: list[Node] = []

    def add(
        self, kind: str, inputs: str | Sequence[str], *values: Any, tensors: Mapping[str, np.ndarray] | None = None,
        **params: Any,
    ) -> str:  # fmt: skip
        """Add a layer; the name of its output."""
        return self.add_many(kind, inputs, *values, outputs=1, tensors=tensors, **params)[0]

    def add_many(
        self, kind: str, inputs: str | Sequence[str], *values: Any, outputs: int,
        tensors: Mapping[str, np.ndarray] | None = None, **params: Any,
    ) -> tuple[str, ...]:  # fmt: skip
        """Add a layer; the names of its outputs. ``values`` and ``params`` are its parameters, of whatever type."""
        from tnnquant.base.tensor import Tensor
        from tnnquant.graph import Node, Resource
        from tnnquant.layers.base import layer_type

        name = f"l{len(self.nodes)}"
        made = tuple(f"{name}.{i}" for i in range(outputs))
        reads = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        resource = None
        if tensors:
            stored = {key: Tensor.from_array(array, with_dims=False) for key, array in tensors.items()}
            resource = Resource(stored, {"name": name, "has_bias": "bias" in tensors}, kind)
        self.nodes.append(Node(name, kind, layer_type(kind)(*values, **params), reads, made, resource))
        return made

    def conv(
        self, source: str, channels: int, count: int, kernel: int = 1, kind: str = "Convolution", **params: int
    ) -> str:
        """A convolution with random weights."""
        groups = params.get("group", 1)
        shape = (count, channels // groups) if kind == "Convolution" else (channels, count // groups)
        weights = self.rng.standard_normal((*shape, kernel, kernel)).astype(np.float32)
        fields = {
            "group": 1, "input_channel": channels // groups, "output_channel": count, "kernel_h": kernel,
            "kernel_w": kernel, "stride_h": 1, "stride_w": 1, "pad_h": kernel // 2, "pad_w": kernel // 2, "bias": 1,
            "pad_type": -1,
        }  # fmt: skip
        tensors = {"filter": weights, "bias": self.rng.standard_normal(count).astype(np.float32)}
        return self.add(kind, source, tensors=tensors, **{**fields, **params})

    def pool(self, source: str, kind: int, kernel: int) -> str:
        """A maximum (0) or average (1) pooling; kernel 0: of everything."""
        fields: dict[str, Any] = {"kernel_h": kernel, "kernel_w": kernel, "pad_h": 0, "pad_w": 0, "pad_type": -1}
        stride = max(kernel, 1)
        return self.add("Pooling", source, pool_type=kind, stride_h=stride, stride_w=stride, **fields)

    def graph(self, *outputs: str) -> Graph:
        """The graph so far."""
        from tnnquant.graph import Graph, InputSpec

        return Graph({"in": InputSpec(_DIMS)}, tuple(sorted(outputs)), tuple(self.nodes), {})


def _classifier(net: _Net) -> str:
    """A stem, a bottleneck whose last convolution fuses with the add, a depthwise one, pooling and classes."""
    x = net.add("ReLU", net.conv("in", 3, 4, 3, stride_h=2, stride_w=2))
    y = net.conv(net.conv(x, 4, 4, 3), 4, 4)
    x = net.add("ReLU", net.add("Add", [y, x], -1))
    x = net.pool(net.conv(x, 4, 4, 3, group=4), 1, 0)
    weights = {"weight": net.rng.standard_normal((5, 4)).astype(np.float32), "bias": np.ones(5, np.float32)}
    x = net.add("InnerProduct", x, num_output=5, has_bias=1, transpose=0, axis=1, tensors=weights)
    return net.add("SoftmaxCaffe", x, 1)


def _branches(net: _Net) -> str:
    """Split, gated, joined, shuffled, pooled and brought back."""
    left, right = net.add_many("SplitV", net.conv("in", 3, 4), 1, (2, 2), outputs=2)
    gated = net.add("Mul", [right, net.add("Sigmoid", right)], -1)
    x = net.add("ShuffleChannel", net.add("Concat", [net.add("ReLU", left), gated], 1), 2)
    up = net.add("Upsample", net.pool(x, 0, 2), mode=1, scale_h=2.0, scale_w=2.0)
    return net.conv(net.add("Concat", [up, x], 1), 8, 2)


def _head(net: _Net) -> str:
    """What detectors and readers of text end in."""
    x = net.conv("in", 3, 4, 3, activation_type=2)
    x = net.conv(x, 4, 4, 2, "Deconvolution", stride_h=2, stride_w=2, pad_h=0, pad_w=0)
    x = net.add("Permute", x, (0, 2, 3, 1))
    x = net.add("Reshape", x, axis=0, num_axes=3, shape=(1, -1, 4), reshape_type=0)
    return net.add("Softmax", net.add("HardSwish", x, 1 / 6, 0.5), 1)


def made_nets() -> list[bytes]:
    """Pairs of every network, in fp32 and quantized."""
    from tnnquant.config import QuantizeConfig
    from tnnquant.format import model_bytes, write_proto
    from tnnquant.inputs.samples import Sample
    from tnnquant.quantization.quantize import quantize_graph

    pairs = []
    for build in (_classifier, _branches, _head):
        net = _Net()
        graph = net.graph(build(net))
        samples = [Sample("s", {"in": net.rng.standard_normal(_DIMS).astype(np.float32)})]
        for made in (graph, quantize_graph(graph, samples, QuantizeConfig()).graph):
            pairs.append(join_pair(write_proto(made), model_bytes(made)))
    return pairs
