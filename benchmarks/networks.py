"""Networks with random weights, built layer by layer: what is measured is their speed, which no weight changes.

The weights keep the variance of what passes through, so that the int8 forms are as meaningful as those of real ones.
"""

from __future__ import annotations

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.graph import Graph, InputSpec, Node, Resource
from tnnquant.layers.base import find_layer

__all__ = ["mobilenet_v2", "resnet50", "segmentation", "vgg16"]


class Net:
    """Adds layers; each method returns the name of its output blob."""

    def __init__(self, dims: tuple[int, ...], seed: int = 0):
        self._rng = np.random.default_rng(seed)
        self._inputs = {"input": InputSpec(dims)}
        self._nodes: list[Node] = []

    def add(self, kind: str, *inputs: str, tensors: dict[str, np.ndarray] | None = None, **params: float) -> str:
        """Any layer with one output."""
        layer = find_layer(kind)
        name = f"{layer.TYPE_NAMES[0].lower()}{len(self._nodes)}"
        resource = None
        if tensors is not None:
            stored = {key: Tensor.from_array(value, with_dims=False) for key, value in tensors.items()}
            resource = Resource(stored, {"name": name, "has_bias": True}, kind)
        self._nodes.append(Node(name, kind, layer(**params), inputs, (f"{name}_out",), resource))
        return f"{name}_out"

    def conv(
        self, x: str, channels: int, count: int, kernel: int = 1, stride: int = 1, groups: int = 1, gain: float = 2,
        dilation: int = 1,
    ) -> str:  # fmt: skip
        """A convolution with a bias; its results have ``gain / 2`` times the variance of a ReLU's input."""
        pad = kernel // 2 * dilation
        depth = channels // groups * kernel * kernel
        weight = self._rng.standard_normal((count, channels // groups, kernel, kernel)) * (gain / depth) ** 0.5
        bias = self._rng.standard_normal(count) * 0.1
        tensors = {"filter": weight.astype(np.float32), "bias": bias.astype(np.float32)}
        return self.add(
            "Convolution", x, tensors=tensors, group=groups, input_channel=channels // groups, output_channel=count,
            kernel_h=kernel, kernel_w=kernel, stride_h=stride, stride_w=stride, pad_h=pad, pad_w=pad,
            bias=1, pad_type=-1, dilation_h=dilation, dilation_w=dilation,
        )  # fmt: skip

    def pool(self, x: str, kind: int, kernel: int, stride: int, pad: int = 0) -> str:
        """A maximum (kind 0) or average (1) pooling."""
        sizes = {"kernel_h": kernel, "kernel_w": kernel, "stride_h": stride, "stride_w": stride}
        return self.add("Pooling", x, pool_type=kind, **sizes, pad_h=pad, pad_w=pad, pad_type=-1)

    def enlarge(self, x: str) -> str:
        """Twice the height and width, bilinear."""
        return self.add("Upsample", x, mode=2, scale_h=2.0, scale_w=2.0, align_corners=0)

    def inner_product(self, x: str, length: int, count: int) -> str:
        """An inner product with a bias."""
        weight = (self._rng.standard_normal((count, length)) / length**0.5).astype(np.float32)
        tensors = {"weight": weight, "bias": np.zeros(count, np.float32)}
        return self.add("InnerProduct", x, tensors=tensors, num_output=count, has_bias=1, transpose=0, axis=1)

    def graph(self, output: str) -> Graph:
        """The network."""
        return Graph(self._inputs, (output,), tuple(self._nodes), {})


def resnet50() -> Graph:
    """ResNet-50 v1.5 for 224x224: the stride of a block is that of its 3x3 convolution."""
    net = Net((1, 3, 224, 224))
    x = net.add("ReLU", net.conv("input", 3, 64, 7, 2))
    x, channels = net.pool(x, 0, 3, 2, 1), 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            stride = 2 if block == 0 and width > 64 else 1
            y = net.add("ReLU", net.conv(x, channels, width))
            y = net.add("ReLU", net.conv(y, width, width, 3, stride))
            y = net.conv(y, width, 4 * width, gain=0.5)
            if block == 0:
                x = net.conv(x, channels, 4 * width, stride=stride, gain=1.0)
            x, channels = net.add("ReLU", net.add("Add", y, x)), 4 * width
    return net.graph(net.inner_product(net.pool(x, 1, 7, 7), channels, 1000))


def mobilenet_v2() -> Graph:
    """MobileNetV2 1.0 for 224x224."""
    net = Net((1, 3, 224, 224))
    x, channels = net.add("ReLU6", net.conv("input", 3, 32, 3, 2)), 32
    blocks = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, count, repeats, first in blocks:
        for i in range(repeats):
            wide, stride, y = channels * expansion, first if i == 0 else 1, x
            if expansion > 1:
                y = net.add("ReLU6", net.conv(y, channels, wide))
            y = net.add("ReLU6", net.conv(y, wide, wide, 3, stride, groups=wide))
            y = net.conv(y, wide, count, gain=1.0)
            x = net.add("Add", x, y) if stride == 1 and channels == count else y
            channels = count
    x = net.add("ReLU6", net.conv(x, channels, 1280))
    return net.graph(net.inner_product(net.pool(x, 1, 7, 7), 1280, 1000))


def vgg16() -> Graph:
    """VGG-16 for 224x224: 15.5 G multiply-adds, 138 M weights."""
    net = Net((1, 3, 224, 224))
    x, channels = "input", 3
    for width, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(layers):
            x, channels = net.add("ReLU", net.conv(x, channels, width, 3)), width
        x = net.pool(x, 0, 2, 2)
    length = 512 * 7 * 7
    for count in (4096, 4096):
        x, length = net.add("ReLU", net.inner_product(x, length, count)), count
    return net.graph(net.inner_product(x, length, 1000))


def segmentation() -> Graph:
    """A small encoder and decoder for 1080x1920: down to an eighth, dilated there, up again with what was skipped; two
    classes a pixel. 13 G multiply-adds, and blobs of up to 33 MB.
    """
    net = Net((1, 3, 1080, 1920))
    x, channels, skipped = "input", 3, []
    for width in (16, 32, 64):
        skipped.append((x, channels))
        x, channels = net.add("ReLU", net.conv(x, channels, width, 3, 2)), width
    for dilation in (1, 2, 4, 1):
        x = net.add("ReLU", net.conv(x, channels, channels, 3, dilation=dilation))
    for skip, width in reversed(skipped[1:]):
        joined = net.add("Concat", net.enlarge(x), skip, axis=1)
        x, channels = net.add("ReLU", net.conv(joined, channels + width, width, 3)), width
    return net.graph(net.enlarge(net.conv(x, channels, 2, gain=1.0)))
