"""Small networks of the structure people have: random weights, normalized so that activations keep their size.

A family is a function of a :class:`NetBuilder` that returns the names of the outputs to be compared and of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

FAMILIES = {}


@dataclass(frozen=True)
class Network:
    """A graph, its outputs whose values are continuous, and how to draw an input."""

    graph: object
    compared: tuple[str, ...]
    rng: np.random.Generator

    def sample(self):
        """Arrays for every input: smooth pictures of different contrast."""
        return {name: _picture(self.rng, spec.dims) for name, spec in self.graph.inputs.items()}


def family(dims):
    """Register a family under its function's name, with the dims of its input."""

    def register(function):
        FAMILIES[function.__name__] = (function, dims)
        return function

    return register


def _picture(rng, dims):
    n, c, h, w = dims
    coarse = rng.standard_normal((n, c, -(-h // 4), -(-w // 4))).repeat(4, 2).repeat(4, 3)[:, :, :h, :w]
    return (0.7 * coarse + 0.5 * rng.standard_normal(dims)).astype(np.float32)


# --- blocks ---


def hard_swish(net, x):
    return net.add("HardSwish", x, 1 / 6, 0.5)


def swish(net, x):
    return net.add("Mul", [x, net.add("Sigmoid", x)], -1)


def relu(net, x):
    return net.add("ReLU", x)


def global_pool(net, x):
    return net.pool(x, 1, 0, 1)


def squeeze_excite(net, x, channels):
    gate = relu(net, net.conv(global_pool(net, x), channels, channels // 4, kernel=1))
    gate = net.add("HardSigmoid", net.conv(gate, channels // 4, channels, kernel=1), 1 / 6, 0.5)
    return net.add("Mul", [x, gate], -1)


def upsample(net, x, **params):
    return net.add("Upsample", x, mode=1, scale_h=2.0, scale_w=2.0, **params)


def lstm(net, x, length, hidden, direction):
    dirs = 2 if direction == 2 else 1
    names = []
    for name, dims in (("W", (4 * hidden, length)), ("R", (4 * hidden, hidden)), ("B", (8 * hidden,))):
        names.append(f"{name}{len(net.constants)}")
        scale = 1.5 / dims[-1] ** 0.5 if name != "B" else 0.1
        net.constants[names[-1]] = (net.rng.standard_normal((dirs, *dims)) * scale).astype(np.float32)
    return net.add("LSTMONNX", [x, *names], hidden_size=hidden, direction=direction, outputs=3)[0]


# --- families ---


@family((1, 3, 32, 32))
def mobilenet_v3(net):
    """Inverted residuals with squeeze-excite and hard-swish."""
    x = hard_swish(net, net.conv("input", 3, 16, stride=2))
    for channels, wide, out_channels, stride, excite, activation in (
        (16, 16, 16, 2, True, relu), (16, 48, 24, 1, False, relu), (24, 64, 24, 1, True, hard_swish),
        (24, 72, 32, 2, True, hard_swish), (32, 96, 32, 1, True, hard_swish),
    ):  # fmt: skip
        y = activation(net, net.conv(x, channels, wide, kernel=1))
        y = activation(net, net.conv(y, wide, wide, groups=wide, stride=stride))
        y = squeeze_excite(net, y, wide) if excite else y
        y = net.conv(y, wide, out_channels, kernel=1)
        x = net.add("Add", [y, x], -1) if stride == 1 and channels == out_channels else y
    x = global_pool(net, hard_swish(net, net.conv(x, 32, 96, kernel=1)))
    x = hard_swish(net, net.conv(x, 96, 64, kernel=1))
    return [net.inner_product(x, 64, 10)], []


@family((2, 3, 32, 32))
def shufflenet_v2(net):
    """Channels split, half of them transformed, joined and shuffled: by ShuffleChannel, and by reshape and permute."""

    def branch(x, channels, wide, stride):
        x = relu(net, net.conv(x, channels, wide, kernel=1))
        x = net.conv(x, wide, wide, groups=wide, stride=stride)
        return relu(net, net.conv(x, wide, wide, kernel=1))

    x = net.pool(relu(net, net.conv("input", 3, 16, stride=2)), kernel=3, pad=1)
    left = relu(net, net.conv(net.conv(x, 16, 16, groups=16, stride=2), 16, 24, kernel=1))
    x = net.add("Concat", [left, branch(x, 16, 24, 2)], 1)
    x = net.add("ShuffleChannel", x, 2)
    for _ in range(2):
        kept, worked = net.add("SplitV", x, 1, (24, 24), outputs=2)
        x = net.add("Concat", [kept, branch(worked, 24, 24, 1)], 1)
        x = net.add("Reshape", x, 0, 5, (0, 2, 24, 4, 4), 0)
        x = net.add("Reshape", net.add("Permute", x, (0, 2, 1, 3, 4)), 0, 4, (0, 48, 4, 4), 0)
    x = relu(net, net.conv(x, 48, 64, kernel=1))
    return [net.inner_product(net.add("ReduceMean", x, 0, (2, 3)), 64, 10)], []


@family((1, 3, 32, 32))
def resnet(net):
    """Basic blocks, a projection where the size changes, an inner product at the end."""
    x = net.pool(relu(net, net.conv("input", 3, 16, kernel=7, stride=2)), kernel=3, pad=1)
    for channels, out_channels, stride in ((16, 16, 1), (16, 32, 2), (32, 32, 1)):
        y = relu(net, net.conv(x, channels, out_channels, stride=stride))
        y = net.conv(y, out_channels, out_channels)
        if stride > 1:
            x = net.conv(x, channels, out_channels, kernel=1, stride=stride)
        x = relu(net, net.add("Add", [y, x], -1))
    return [net.add("Softmax", net.inner_product(global_pool(net, x), 32, 10), 1)], []


@family((1, 3, 32, 32))
def yolo(net):
    """Focus by strided slices, swish, split-and-join blocks, pyramid pooling, two heads that are decoded and joined."""

    def block(x, channels, out_channels, kernel=3, stride=1):
        return swish(net, net.conv(x, channels, out_channels, kernel=kernel, stride=stride))

    def split_join(x, channels):
        x = block(x, channels, channels, 1)
        kept, worked = net.add("SplitV", x, 1, (channels // 2,) * 2, outputs=2)
        y = block(block(worked, channels // 2, channels // 2), channels // 2, channels // 2)
        y = net.add("Add", [worked, y], -1)
        return block(net.add("Concat", [kept, worked, y], 1), channels // 2 * 3, channels, 1)

    corners = [
        net.add("StridedSliceV2", "input", (y, x), (2**31 - 1,) * 2, (2, 3), (2, 2)) for y in (0, 1) for x in (0, 1)
    ]
    x = block(net.add("Concat", corners, 1), 12, 16)
    fine = split_join(block(x, 16, 32, stride=2), 32)
    x = block(block(fine, 32, 48, stride=2), 48, 24, 1)
    pooled = [x]
    for _ in range(2):
        pooled.append(net.pool(pooled[-1], kernel=5, stride=1, pad=2))
    coarse = block(net.add("Concat", pooled, 1), 72, 32, 1)
    fine = split_join(net.add("Concat", [upsample(net, coarse), fine], 1), 64)
    heads = []
    for x, channels, size, cells in ((fine, 64, 8, 64), (coarse, 32, 4, 16)):
        y = net.conv(block(x, channels, 24), 24, 7, kernel=1)
        y = net.add("Permute", net.add("Reshape", y, 0, 3, (1, 7, cells), 0), (0, 2, 1))
        y = net.add("Sigmoid", y)
        centre = net.add("StridedSlice", y, (0, 0, 0), (0, 0, 2), (1, 1, 1))
        rest = net.add("StridedSlice", y, (0, 0, 2), (0, 0, 7), (1, 1, 1))
        grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(1, cells, 2).astype(np.float32)
        net.constants[f"grid{cells}"] = grid
        centre = net.add("Add", [centre, f"grid{cells}"], -1)
        centre = net.add("Mul", centre, 1, tensors={"element": np.array([1 / size], np.float32)})
        heads.append(net.add("Concat", [centre, rest], 2))
    return [net.add("Concat", heads, 1)], []


@family((1, 3, 32, 24))
def unet(net):
    """Down by max pooling, up by deconvolution, joined with the maps of the same size on the way down."""
    down, x, channels = [], "input", 3
    for wide in (12, 24):
        x = relu(net, net.conv(x, channels, wide))
        x = relu(net, net.conv(x, wide, wide))
        down.append((x, wide))
        x, channels = net.pool(x), wide
    x, channels = relu(net, net.conv(x, channels, 32)), 32
    for skip, wide in reversed(down):
        weight = net.rng.standard_normal((1, channels, wide, 2, 2)) * (1 / channels) ** 0.5
        x = net.add(
            "Deconvolution", x, 1, channels, wide, 2, 2, 2, 2, 0, 0, 1, -1, 1, 1, 0,
            tensors={"filter": weight.astype(np.float32), "bias": np.zeros(wide, np.float32)},
        )  # fmt: skip
        x = relu(net, net.conv(net.add("Concat", [skip, x], 1), 2 * wide, wide))
        channels = wide
    return [net.add("Sigmoid", net.conv(x, channels, 2, kernel=1))], []


@family((1, 1, 16, 48))
def crnn(net):
    """Convolutions down to one row, its columns through two LSTMs, a softmax over the signs of each."""
    x = net.pool(relu(net, net.conv("input", 1, 16)))
    x = net.pool(relu(net, net.conv(x, 16, 24)))
    scale = (1 + 0.2 * net.rng.standard_normal(32)).astype(np.float32)
    x = net.add("BatchNormCxx", net.conv(x, 24, 32), tensors={"scale": scale, "bias": 0.1 * scale})
    x = net.pool(relu(net, x), kernel_w=1, stride_w=1)
    x = net.pool(x, 1, kernel_w=1, stride_w=1)
    x = net.add("Permute", net.add("Squeeze", x, (2,)), (2, 0, 1))
    x = lstm(net, lstm(net, x, 32, 16, 2), 32, 16, 2)
    weight = (net.rng.standard_normal((32, 11)) * 1.5 / 32**0.5).astype(np.float32)
    net.constants["signs"] = weight
    return [net.add("Softmax", net.add("MatMul", [x, "signs"]), 2)], []


@family((1, 3, 32, 32))
def ssd(net):
    """Two maps with box and class heads, prior boxes, and the detections; what they are made of is compared."""
    x = net.add("ReLU6", net.conv("input", 3, 16, stride=2))
    x = net.add("ReLU6", net.conv(x, 16, 16, groups=16))
    first = net.add("ReLU6", net.conv(x, 16, 32, kernel=1, stride=2))
    second = net.add("ReLU6", net.conv(first, 32, 32, stride=2))
    boxes, scores, priors = [], [], []
    for x, size in ((first, 8.0), (second, 16.0)):
        for heads, values in ((boxes, 4), (scores, 3)):
            y = net.conv(x, 32, 3 * values, pad=1)
            heads.append(net.add("Flatten", net.add("Permute", y, (0, 2, 3, 1)), 1))
        priors.append(
            net.add("PriorBox", [x, "input"], (size,), (), 0, 1, (0.1, 0.1, 0.2, 0.2), (1.0, 2.0, 0.5), 0, 0, 0, 0, 0.5)
        )
    boxes, scores = net.add("Concat", boxes, 1), net.add("Concat", scores, 1)
    scores = net.add("Softmax", net.add("Reshape", scores, 0, 3, (1, 240, 3), 0), 2)
    scores = net.add("Flatten", scores, 1)
    found = net.add(
        "DetectionOutput", [boxes, scores, net.add("Concat", priors, 2)], num_classes=3, share_location=True,
        code_type=2, keep_top_k=20, confidence_threshold=0.3, nms_threshold=0.45, nms_top_k=40, eta=1.0,
    )  # fmt: skip
    return [boxes, scores], [found]


@family((1, 3, 24, 24))
def transformer(net):
    """Patches, attention, layer norms and GELU, as in small vision transformers."""
    x = net.conv("input", 3, 24, kernel=4, stride=4, pad=0)
    x = net.add("Permute", net.add("Reshape", x, 0, 3, (1, 24, 36), 0), (0, 2, 1))

    def norm(x):
        names = [f"{name}{len(net.constants)}" for name in ("gain", "shift")]
        net.constants[names[0]], net.constants[names[1]] = np.ones(24, np.float32), np.zeros(24, np.float32)
        return net.add("LayerNorm", [x, *names], 1, 1e-5)

    def linear(x, length, count):
        name = f"weight{len(net.constants)}"
        net.constants[name] = (net.rng.standard_normal((length, count)) / length**0.5).astype(np.float32)
        return net.add("MatMul", [x, name])

    y = norm(x)
    q, k, v = (linear(y, 24, 24) for _ in range(3))
    scores = net.add("MatMul", [q, net.add("Permute", k, (0, 2, 1))])
    scores = net.add("Softmax", net.add("Mul", scores, 1, tensors={"element": np.array([24**-0.5], np.float32)}), 2)
    x = net.add("Add", [x, linear(net.add("MatMul", [scores, v]), 24, 24)], -1)
    x = net.add("Add", [x, linear(net.add("GELU", linear(norm(x), 24, 48)), 48, 24)], -1)
    x = net.add("ReduceMean", norm(x), 0, (1,))
    return [net.inner_product(x, 24, 10)], []


@pytest.fixture(params=FAMILIES)
def network(request, build, rng):
    """Every family once."""
    function, dims = FAMILIES[request.param]
    net = build(dims)
    compared, others = function(net)
    return Network(net.graph(*compared, *others), tuple(compared), rng)
