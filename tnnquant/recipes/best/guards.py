"""Guard channels: all 256 codes for blobs that a convolution with padding reads.

Where the code z = -128 means 0 (:mod:`tnnquant.recipes.best.full_range`), padding, which has the code 0, would mean 128
steps. A *guard* is one more channel of such a blob: it holds z wherever the blob has a value, and the padding's 0
beyond. If its weights are minus the sums of the other channels' weights, tap by tap, then

    sum over c of w[c] * code[c]  +  guard * z  =  sum over c of w[c] * (code[c] - z)      inside,
                                                =  0                                       in the padding,

in integers, without any error. A sum that no int8 weight holds is shared by several guards, mostly four or eight. The
convolution that makes the blob makes them too, out of a bias that saturates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.graph import Graph, Node, QuantParams
from tnnquant.graph.traces import GUARD_BIAS
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.convolution import Convolution
from tnnquant.weights import LayerWeights
from tnnquant.weights.layer import fold_input_scale

__all__ = [
    "count_guards",
    "guardable",
    "is_plain",
    "least_steps",
    "open_taps",
    "shifted_floats",
    "widened",
    "with_guard_outputs",
    "with_guard_weights",
]

_LEVELS = 127
#: Channels are made a multiple of this: int8 kernels read so many at once, so that the others are free.
_MULTIPLE = 4
#: At most this share of the channels are added (and :data:`_MULTIPLE` always may be).
_MOST = 0.5
#: Few outputs have sums that need many guards: their weights are rounded to larger steps, as long as that raises the
#: power of all rounding noise of the layer by at most this factor.
_COARSER = 1.1
#: Codes of weights, rounded one by one, sum up to within so many standard deviations of what they should.
_SLACK = 3.0
#: What an fp32 layer writes into guards, in multiples of the value whose code means 0.
_FAR = 2


def open_taps(node: Node, specs: Mapping[str, BlobSpec]) -> np.ndarray:
    """Which taps of a convolution, resolved, ever lie beyond its input, bool (KH, KW)."""
    layer, size, out = node.layer.expect(Convolution), specs[node.inputs[0]].dims, specs[node.outputs[0]].dims
    dilation = layer.dilation_h  # TNN uses it for both axes

    def beyond(kernel: int, stride: int, pad: int, before: int, after: int) -> np.ndarray:
        first = np.arange(kernel) * dilation - pad
        return (first < 0) | (first + (after - 1) * stride >= before)

    rows = beyond(layer.kernel_h, layer.stride_h, layer.pad_h, size[2], out[2])
    columns = beyond(layer.kernel_w, layer.stride_w, layer.pad_w, size[3], out[3])
    places: np.ndarray = rows[:, None] | columns
    return places


def guardable(maker: Node, readers: list[tuple[Node, bool]], specs: Mapping[str, BlobSpec]) -> bool:
    """Whether a blob can have guards: one plain convolution makes it, plain int8 convolutions alone read it.

    Parameters
    ----------
    maker : Node
    readers : list of (Node, bool)
        With whether each is int8.
    specs : dict of str to BlobSpec
    """
    if not is_plain(maker) or not readers or not all(int8 and is_plain(node) for node, int8 in readers):
        return False
    channels = specs[maker.outputs[0]].dims[1]
    wanted = count_guards([node for node, _ in readers], np.ones(1, np.float32), specs)
    return wanted <= max(_MULTIPLE, _MOST * channels)


def is_plain(node: Node) -> bool:
    """Whether the layer is a 2-D convolution without groups."""
    return isinstance(node.layer, Convolution) and node.layer.group == 1


def count_guards(readers: Sequence[Node], input_scale: np.ndarray, specs: Mapping[str, BlobSpec]) -> int:
    """Guards of a blob with that scale: with fewer, some of its readers had to be rounded too coarsely.

    Parameters
    ----------
    readers : sequence of Node
    input_scale : float32 (1,) or (C,)
    specs : dict of str to BlobSpec
    """
    channels = specs[readers[0].inputs[0]].dims[1]
    taps = {node.name: open_taps(node, specs) for node in readers}
    padded = [node for node in readers if taps[node.name].any()]
    if not padded:
        return 0
    count = -channels % _MULTIPLE or _MULTIPLE
    while any(
        _coarseness(node.layer.expect(Convolution).weight_array(node.tensors), input_scale, taps[node.name], count)
        > _COARSER
        for node in padded
    ):
        count += _MULTIPLE
    return count


def _coarseness(weight: np.ndarray, input_scale: np.ndarray, taps: np.ndarray, guards: int) -> float:
    """By how much guards raise the power of the noise of rounding the weights."""
    step = np.abs(fold_input_scale(weight, input_scale, 1)).max(axis=(1, 2, 3)).astype(np.float64) / _LEVELS
    raised = np.maximum(step, least_steps(weight, input_scale, taps, guards))
    return float((raised**2).sum() / max((step**2).sum(), 1e-300))


def least_steps(weight: np.ndarray, input_scale: np.ndarray, taps: np.ndarray, guards: int) -> np.ndarray:
    """The smallest step of each output's weights with which the guards hold their sums, float32 (OC,); maybe inf.

    Parameters
    ----------
    weight : float32 (OC, C, KH, KW)
    input_scale : float32 (1,) or (C,)
    taps : bool (KH, KW)
        Of :func:`open_taps`.
    guards : int
    """
    if not taps.any():
        return np.zeros(weight.shape[0], np.float32)
    products = fold_input_scale(weight, input_scale, 1)
    sums = np.abs(products.sum(axis=1, dtype=np.float64))[:, taps].max(axis=1)
    room = _LEVELS * guards - _SLACK * np.sqrt(weight.shape[1] / 12)
    return (sums / room if room > 0 else np.where(sums > 0, np.inf, 0)).astype(np.float32)


def with_guard_weights(result: LayerWeights, guards: int, taps: np.ndarray) -> LayerWeights:
    """The weights of a layer, and after them those of its input's guards."""
    if not guards:
        return result
    left = -result.weight.sum(axis=1, dtype=np.int64) * taps
    rows = []
    for _ in range(guards):
        rows.append(np.clip(left, -_LEVELS, _LEVELS))
        left = left - rows[-1]
    weight = np.concatenate([result.weight, np.stack(rows, axis=1).astype(np.int8)], axis=1)
    return replace(result, weight=weight)


def guard_scale(scale: np.ndarray) -> np.float32:
    """The scale of the guards of a blob whose other channels have these scales: any scale would do."""
    largest: np.float32 = scale.max()
    return largest


def with_guard_outputs(result: LayerWeights, guards: int, output_scale: np.ndarray) -> LayerWeights:
    """The weights of a layer, and after them outputs that saturate at the lowest code.

    Parameters
    ----------
    result : LayerWeights
    guards : int
    output_scale : float32 (OC,)
        Without guards: theirs is :func:`guard_scale`.
    """
    if not guards:
        return result
    assert result.bias is not None  # every layer has one (network.py)
    weight = np.concatenate([result.weight, np.zeros((guards, *result.weight.shape[1:]), np.int8)])
    step = guard_scale(output_scale)
    return replace(
        result,
        weight=weight,
        scale=np.append(result.scale, np.full(guards, step, np.float32)),
        zero_point=np.append(result.zero_point, np.zeros(guards, np.int8)),
        bias=np.append(result.bias, np.full(guards, GUARD_BIAS, np.int32)),
    )


def shifted_floats(node: Node, zero: np.ndarray, scale: np.ndarray, guards: int) -> Node:
    """An fp32 convolution whose output, once int8, has the codes ``zero`` for 0; without its activation.

    Parameters
    ----------
    node : Node
        Not widened yet.
    zero : int64 or float64 (OC + guards,)
        In steps.
    scale : float32 (OC,)
    guards : int
    """
    layer = node.layer.expect(Convolution)
    weight, bias = layer.weight_array(node.tensors), layer.bias_array(node.tensors)
    assert bias is not None  # every layer has one (network.py)
    low = np.broadcast_to(zero, bias.size + guards)[: bias.size] * scale.astype(np.float64)
    bias = np.append(bias + low, np.full(guards, _FAR * low.min())).astype(np.float32)
    weight = np.concatenate([weight, np.zeros((guards, *weight.shape[1:]), np.float32)])
    tensors = {"filter": Tensor(weight.reshape(-1), (), DataType.FLOAT), "bias": Tensor(bias, (), DataType.FLOAT)}
    return node.with_tensors({**node.tensors, **tensors}).replace(layer=layer.with_activation(0))


def widened(graph: Graph, guards: Mapping[str, int]) -> Graph:
    """The graph with room for guards: numbers of channels and scales; weights are not touched."""

    def wider(node: Node) -> Node:
        more_in = guards.get(node.inputs[0], 0) if node.inputs else 0
        more_out = guards.get(node.outputs[0], 0)
        if not more_in and not more_out:
            return node
        layer = node.layer.expect(Convolution)
        channels = layer.input_channel + more_in, layer.output_channel + more_out
        return node.replace(layer=replace(layer, input_channel=channels[0], output_channel=channels[1]))

    scales = dict(graph.scales)
    for blob, count in guards.items():
        scale = scales[blob].scale
        scale = np.append(scale, np.full(count, guard_scale(scale), np.float32))
        scales[blob] = QuantParams(scale, np.zeros(scale.size, np.int8))
    return graph.with_nodes(map(wider, graph.nodes)).replace(scales=scales)
