"""The conditions of the rules: what of a layer, its blobs and its neighbours a device cannot stand.

A condition is a function of a :class:`Place` under ``@condition("name", "explanation")``; tables name it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.devices.memory import LANES, is_plain, keeps_rows
from tnnquant.graph import Graph, Node
from tnnquant.graph.lower import fuse_adds
from tnnquant.graph.passes import is_fused_swish, is_sigmoid_mul
from tnnquant.kernels.geometry import RELU6, SWISH
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.clip import Clip
from tnnquant.layers.expand import Tile
from tnnquant.layers.gated import Glu
from tnnquant.layers.inner_product import InnerProduct
from tnnquant.layers.pad import PadV2
from tnnquant.layers.pooling import MAX, Pooling
from tnnquant.layers.reduce import Reduction
from tnnquant.layers.slice import StridedSlice, StridedSliceV2
from tnnquant.layers.softmax import Softmax
from tnnquant.layers.weighted import fused_activation, fuses_nothing
from tnnquant.layers.windowed import Windowed

__all__ = ["CONDITIONS", "Net", "Place", "condition", "explanation", "is_taken_for_fused"]

_REPACKING = frozenset({
    "Reshape", "Flatten", "Permute", "InnerProduct", "Softmax", "LogSoftmax", "DetectionOutput", "PriorBox",
})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Net:
    """A graph with what conditions ask of all of it.

    Attributes
    ----------
    graph : Graph
    specs : dict of str to BlobSpec
        Of all its blobs.
    mixed : bool
        Whether some layer is, or will be, int8.
    """

    graph: Graph
    specs: Mapping[str, BlobSpec]
    mixed: bool

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that makes each blob."""
        return self.graph.producers()

    @cached_property
    def consumers(self) -> Mapping[str, Sequence[Node]]:
        """The nodes that read each blob."""
        return self.graph.consumers()

    @cached_property
    def has_int8_input(self) -> bool:
        """Whether an int8 layer reads a model input."""
        return any(node.quantized and blob in self.graph.inputs for node in self.graph.nodes for blob in node.inputs)

    @cached_property
    def fused(self) -> Sequence[Node]:
        """The nodes with int8 adds fused into the convolutions before them, as TNN does when it loads the model."""
        return fuse_adds(self.graph).nodes

    @cached_property
    def fused_names(self) -> Mapping[str, int]:
        """Where each node stands in :attr:`fused`; an add that became part of a convolution does not."""
        return {node.name: position for position, node in enumerate(self.fused)}

    @cached_property
    def ragged(self) -> Collection[str]:
        """int8 blobs with C % 8 in 1, 2, 3 that an fp32 convolution reads, directly or through other fp32 layers that
        do not lay their blob out anew."""
        found = []
        for blob, node in self.producers.items():
            dims = self.specs[blob].dims
            is_ragged = len(dims) > 1 and dims[1] % 8 in (1, 2, 3)
            if node.quantized and not node.layer.CONVERTS and is_ragged and self.reaches_convolution(blob):
                found.append(blob)
        return frozenset(found)

    def reaches_convolution(self, blob: str) -> bool:
        """Whether an fp32 convolution reads a blob, directly or through fp32 layers that do not lay it out anew."""
        return any(True for _ in self.convolutions_after(blob))

    def convolutions_after(self, blob: str) -> Iterator[Node]:
        """The fp32 convolutions that read a blob, directly or through fp32 layers that do not lay it out anew."""
        seen, waiting = set(), [blob]
        while waiting:
            for node in self.consumers.get(waiting.pop(), ()):
                kind = node.layer.TYPE_NAMES[0]
                if node.quantized or node.name in seen or kind in _REPACKING:
                    continue
                seen.add(node.name)
                if kind in ("Convolution", "Deconvolution"):
                    yield node
                else:
                    waiting += node.outputs


@dataclass(frozen=True, eq=False)
class Place:
    """A layer where it stands.

    Attributes
    ----------
    node : Node
        With resolved parameters.
    position : int
    net : Net
    """

    node: Node
    position: int
    net: Net

    @property
    def kind(self) -> str:
        """The layer's type."""
        return self.node.layer.TYPE_NAMES[0]

    @property
    def inputs(self) -> list[BlobSpec]:
        """What is known of the blobs it reads."""
        return [self.net.specs[blob] for blob in self.node.inputs]

    @property
    def outputs(self) -> list[BlobSpec]:
        """What is known of the blobs it makes."""
        return [self.net.specs[blob] for blob in self.node.outputs]

    def is_constant(self, number: int) -> bool:
        """Whether input ``number`` is a constant of the model, or computed from constants alone."""
        return self.inputs[number].value is not None


CONDITIONS: dict[str, Callable[[Place], bool]] = {}
_TEXTS: dict[str, str] = {}


def condition(name: str, text: str) -> Callable[[Callable[[Place], bool]], Callable[[Place], bool]]:
    """Decorator: enter a condition under its name, with what it means."""

    def enter(function: Callable[[Place], bool]) -> Callable[[Place], bool]:
        CONDITIONS[name], _TEXTS[name] = function, text
        return function

    return enter


def explanation(name: str) -> str:
    """What a condition means; empty where the name says it."""
    return _TEXTS[name]


# --- of any layer ---


@condition("always", "")
def _always(place: Place) -> bool:
    return True


@condition("not folded", "unless it is computed from constants alone")
def _not_folded(place: Place) -> bool:
    return not place.inputs or not all(place.is_constant(number) for number in range(len(place.inputs)))


@condition("int32", "it reads INT32 values")
def _int32(place: Place) -> bool:
    return any(spec.dtype == DataType.INT32 for spec in place.inputs[:1])


@condition("rank 1", "a blob of one dim that is no constant")
def _rank_1(place: Place) -> bool:
    return any(len(spec.dims) == 1 for spec in place.inputs if spec.value is None)


@condition("makes rank 1", "of blobs of one dim alone")
def _makes_rank_1(place: Place) -> bool:
    return len(place.outputs[0].dims) == 1 and _rank_1(place)


@condition("rank 5", "a blob of five dims or more")
def _rank_5(place: Place) -> bool:
    return any(len(spec.dims) > 4 for spec in place.inputs)


@condition("three operands", "it reads three blobs or more")
def _three_operands(place: Place) -> bool:
    return len(place.node.inputs) > 2


@condition("constant operand", "a constant of the model is among its inputs")
def _constant_operand(place: Place) -> bool:
    return _not_folded(place) and any(place.is_constant(number) for number in range(len(place.inputs)))


@condition("one output", "")
def _one_output(place: Place) -> bool:
    return len(place.node.outputs) < 3


@condition("operand from a blob", "beside its data it reads another blob")
def _operand_from_blob(place: Place) -> bool:
    if place.kind == "Gather":
        return len(place.inputs) > 1 and place.is_constant(len(place.inputs) - 1)
    if place.kind == "ScatterND":
        return "indices" not in place.node.tensors
    return len(place.node.inputs) > 1


# --- memory ---


@condition("breaks rule A", "its blobs do not lie in memory as N, C, H, W (rule A)")
def _breaks_rule_a(place: Place) -> bool:
    kind = place.kind
    if kind in ("LSTMONNX", "Inverse"):
        return True
    stored = kind in ("LayerNorm", "GroupNorm")
    read = [spec for spec in place.inputs if not (stored and spec.value is not None)]
    if all(is_plain(spec.dims) for spec in (*read, *place.outputs)):
        return False
    return not keeps_rows(place.node, place.inputs, place.outputs)


@condition("breaks rule B", "an operand has fewer dims, and more than one value (rule B)")
def _breaks_rule_b(place: Place) -> bool:
    if len(place.inputs) != 2 or not _not_folded(place):
        return False
    first, second = place.inputs
    if len(first.dims) == len(second.dims):
        return False
    lower, higher = sorted((first, second), key=lambda spec: len(spec.dims))
    constant = lower.value is not None
    if constant and lower is first:
        return True
    if prod(lower.dims) == 1:
        return False
    if len(lower.dims) != 1:
        return True
    return len(higher.dims) != 2 if constant else len(higher.dims) not in (3, 4)


@condition("divides ragged channels", "C % 4 is not 0, the divisor has several values, a convolution reads it")
def _divides_ragged(place: Place) -> bool:
    dims, node = place.outputs[0].dims, place.node
    divisor = place.inputs[1].dims if len(node.inputs) > 1 else node.tensors["element"].dims or (2,)
    return len(dims) > 1 and dims[1] % 4 != 0 and prod(divisor) > 1 and place.net.reaches_convolution(node.outputs[0])


@condition("two operands of different rank", "two operands with different numbers of dims")
def _two_ranks(place: Place) -> bool:
    return len(place.inputs) == 2 and len(place.inputs[0].dims) != len(place.inputs[1].dims)


@condition("operands broadcast both ways", "each of two operands is repeated along some axis")
def _both_ways(place: Place) -> bool:
    if len(place.inputs) != 2 or len(place.inputs[0].dims) != len(place.inputs[1].dims):
        return False
    pairs = list(zip(*(spec.dims for spec in place.inputs), strict=True))
    return any(a < b for a, b in pairs) and any(a > b for a, b in pairs)


@condition("ragged channels reach a convolution", "C % 8 is 1, 2 or 3, and an fp32 convolution reads it")
def _ragged(place: Place) -> bool:
    return any(blob in place.net.ragged for blob in place.node.outputs)


@condition("after an int8 convolution", "in the line after an int8 convolution, or an add that TNN fuses into one")
def _after_int8_convolution(place: Place) -> bool:
    nodes, position = place.net.fused, place.net.fused_names[place.node.name]
    previous = nodes[position - 1]
    blob = place.node.inputs[0]
    return (
        position > 0
        and previous.quantized
        and fuses_nothing(previous.layer)
        and previous.outputs[0] == blob
        and not any(blob in later.inputs for later in nodes[position + 1 :])
    )


@condition("after a convolution it does not read", "the layer before it is a convolution that nothing reads later")
def _next_line(place: Place) -> bool:
    return is_taken_for_fused(place.net.graph.nodes, place.position)


def is_taken_for_fused(nodes: Sequence[Node], position: int) -> bool:
    """Whether TNN fuses an activation into the convolution in the line before, although it reads another blob: TNN only
    asks whether a later layer reads what the convolution makes."""
    node, previous = nodes[position], nodes[position - 1]
    kinds = ("ReLU", "ReLU6") if previous.quantized else ("ReLU", "ReLU6", "Swish")
    if not position or node.layer.TYPE_NAMES[0] not in kinds or not fuses_nothing(previous.layer):
        return False
    made = previous.outputs[0]
    return made not in node.inputs and not any(made in later.inputs for later in nodes[position + 1 :])


@condition("after a convolution that is an output", "it reads a convolution that is an output, and nothing reads later")
def _next_to_output(place: Place) -> bool:
    graph, position = place.net.graph, place.position
    node, previous = graph.nodes[position], graph.nodes[position - 1]
    made, end = previous.outputs[0], position + 1
    is_fused = place.kind in ("ReLU", "ReLU6") or (place.kind == "Swish" and not previous.quantized)
    if place.kind == "Sigmoid" and is_sigmoid_mul(graph, position, made):
        is_fused, end = not previous.quantized, end + 1
    return (
        position > 0
        and is_fused
        and fuses_nothing(previous.layer)
        and node.inputs == (made,)
        and made in graph.outputs
        and not any(made in later.inputs for later in graph.nodes[end:])
    )


@condition("int8 model input", "an int8 layer reads a model input")
def _int8_input(place: Place) -> bool:
    return place.net.has_int8_input


@condition("swish after a convolution", "right after an fp32 convolution, which TNN fuses it into")
def _swish_after_convolution(place: Place) -> bool:
    return is_fused_swish(place.net.graph, place.position)


# --- parameters ---


@condition("over axis 0", "")
def _over_axis_0(place: Place) -> bool:
    rank = len(place.inputs[0].dims)
    return rank > 1 and place.node.layer.expect(Softmax).axis in (0, -rank)


@condition("drops axis 0", "")
def _drops_axis_0(place: Place) -> bool:
    layer, rank = place.node.layer.expect(Reduction), len(place.inputs[0].dims)
    axes = {axis % rank for axis in layer.axes} if layer.axes else {0}
    return not layer.keep_dims and 0 in axes


@condition("pads by type 0", "")
def _pads_by_type(place: Place) -> bool:
    return place.node.layer.expect(Windowed).pad_type == 0


@condition("adaptive average", "")
def _adaptive_average(place: Place) -> bool:
    layer = place.node.layer.expect(Pooling)
    return bool(layer.is_adaptive) and layer.pool_type != 0


@condition("maximum in the padding", "of maxima, and a window lies in the padding as a whole")
def _maximum_in_padding(place: Place) -> bool:
    return place.node.layer.expect(Pooling).pool_type == MAX and _window_in_padding(place)


@condition("pads checked wrongly", "floor mode, pads of numbers, the last window ends before the blob does")
def _pads_checked_wrongly(place: Place) -> bool:
    """TNN computes the width a second time where a pad at an end comes out negative, with the lower pad for the left
    one."""
    layer, dims = place.node.layer.expect(Pooling), place.inputs[0].dims
    if layer.is_adaptive or layer.ceil_mode or layer.pad_type != -1 or len(dims) != 4:
        return False
    strides, kernels = (layer.stride_h, layer.stride_w), layer.kernel(dims)
    axes = layer.axes(dims)
    ends = [
        (axis.size - 1) * stride + kernel - size - axis.begin
        for axis, stride, kernel, size in zip(axes, strides, kernels, dims[2:], strict=True)
    ]
    below, right = (max(end, 0) for end in ends)
    return min(ends) < 0 and (dims[3] + below + right - kernels[1]) // strides[1] + 1 != axes[1].size


@condition("window in the padding", "a window lies in the padding as a whole")
def _window_in_padding(place: Place) -> bool:
    layer, dims = place.node.layer.expect(Pooling), place.inputs[0].dims
    if layer.is_adaptive or len(dims) != 4:
        return False
    beyond = [
        (axis.size - 1) * stride - axis.begin >= size or kernel <= axis.begin
        for axis, stride, size, kernel in zip(
            layer.axes(dims), (layer.stride_h, layer.stride_w), dims[2:], layer.kernel(dims), strict=True
        )
    ]
    return any(beyond)


@condition("counts from the end", "")
def _counts_from_end(place: Place) -> bool:
    layer = place.node.layer.expect(StridedSlice)
    return any(entry < 0 for entry in (*layer.begins, *layer.ends))


@condition("negative stride", "")
def _negative_stride(place: Place) -> bool:
    return any(stride < 0 for stride in place.node.layer.expect(StridedSliceV2).strides)


@condition("negative index", "")
def _negative_index(place: Place) -> bool:
    indices = place.node.tensors.get("indices")
    if indices is None and place.inputs:
        value = place.inputs[-1].value
        return value is not None and bool(np.any(np.asarray(value) < 0))
    return indices is not None and bool(np.any(indices.data < 0))


@condition("fused swish", "its activation is a swish")
def _fused_swish(place: Place) -> bool:
    return fused_activation(place.node.layer) == SWISH


@condition("unequal dilations", "")
def _unequal_dilations(place: Place) -> bool:
    layer = place.node.layer.expect(Windowed)
    return layer.dilation_h != layer.dilation_w and min(layer.kernel_h, layer.kernel_w) > 1


@condition("empty range", "its minimum is above its maximum")
def _empty_range(place: Place) -> bool:
    layer = place.node.layer.expect(Clip)
    return layer.min > layer.max


@condition("halves ragged channels", "along the channels, half of which are no multiple of 4")
def _halves_ragged(place: Place) -> bool:
    dims = place.inputs[0].dims
    return place.node.layer.expect(Glu).axis % len(dims) == 1 and dims[1] // 2 % 4 != 0


@condition("more repeats than dims", "")
def _more_repeats(place: Place) -> bool:
    return len(place.node.layer.expect(Tile).reps) > len(place.inputs[0].dims)


@condition("pads other axes", "other axes than the last two of rank 4")
def _pads_other_axes(place: Place) -> bool:
    layer, rank = place.node.layer.expect(PadV2), len(place.inputs[0].dims)
    count = len(layer.pads) // 2
    padded = {axis for axis in range(count) if layer.pads[axis] or layer.pads[axis + count]}
    return rank != 4 or (0 in padded and len(padded) > 1) or (1 in padded and layer.mode != 0)


@condition("batches broadcast both ways", "each operand is repeated along some axis of the batch")
def _batches_both_ways(place: Place) -> bool:
    if len(place.inputs) != 2:
        return False
    first, second = (spec.dims[:-2] for spec in place.inputs)
    rank = max(len(first), len(second))
    first, second = ((*(1,) * (rank - len(dims)), *dims) for dims in (first, second))
    return any(a < b for a, b in zip(first, second, strict=True)) and any(
        a > b for a, b in zip(first, second, strict=True)
    )


@condition("int8 values", "to or from INT8")
def _int8_values(place: Place) -> bool:
    return any(spec.dtype == DataType.INT8 for spec in (*place.inputs, *place.outputs))


@condition("stored operand out of step", "an operand in the layer that does not broadcast with its input")
def _out_of_step(place: Place) -> bool:
    element = place.node.tensors.get("element")
    if element is None or len(place.inputs) != 1 or not element.dims:
        return False
    pairs = zip(element.dims[::-1], place.inputs[0].dims[::-1], strict=False)
    return any(a != b and 1 not in (a, b) for a, b in pairs)


@condition("stride and dilation", "stride and dilation above 1 along one axis")
def _stride_and_dilation(place: Place) -> bool:
    layer = place.node.layer.expect(Windowed)
    return any(
        stride > 1 and dilation > 1 and kernel > 1
        for stride, dilation, kernel in (
            (layer.stride_h, layer.dilation_h, layer.kernel_h), (layer.stride_w, layer.dilation_w, layer.kernel_w)
        )
    )  # fmt: skip


@condition("half-precision weights", "")
def _half_weights(place: Place) -> bool:
    return any(tensor.dtype in (DataType.HALF, DataType.BFP16) for tensor in place.node.tensors.values())


# --- int8 ---


@condition("has a zero point", "of a blob it touches, or of its weights")
def _zero_point(place: Place) -> bool:
    scales, node = place.net.graph.scales, place.node
    of_blobs = any(blob in scales and np.any(scales[blob].zero_point) for blob in (*node.inputs, *node.outputs))
    stored = node.tensors.get("zero_point")
    return of_blobs or (stored is not None and bool(np.any(stored.data)))


@condition("batch", "the first dim is above 1")
def _batch(place: Place) -> bool:
    return place.inputs[0].dims[0] > 1


@condition("small 1x1 of a batch", "first dim above 1, at most 32 channels, more places than outputs")
def _small_1x1(place: Place) -> bool:
    return place.inputs[0].dims[0] > 1 and _has_own_kernel(place)


def _has_own_kernel(place: Place) -> bool:
    """Whether ARM has a kernel for a 1x1 convolution of so few channels and so many places."""
    layer, dims = place.node.layer.expect(Windowed), place.inputs[0].dims
    window = layer.kernel_h, layer.kernel_w, layer.group, layer.stride_h, layer.stride_w
    is_1x1 = window == (1, 1, 1, 1, 1) and max(layer.pad_h, layer.pad_w) == 0
    return is_1x1 and dims[1] <= 32 and prod(dims[2:]) > layer.output_channel


@condition("int8 batch", "the first dim is above 1, and TNN does not fuse it into the convolution before it")
def _int8_batch(place: Place) -> bool:
    return place.inputs[0].dims[0] > 1 and place.node.name in place.net.fused_names


@condition("rest of outputs", "outputs % 16 is 13, 14 or 15, and more than 4 values come in")
def _rest_of_outputs(place: Place) -> bool:
    dims = place.inputs[0].dims
    values = -(-prod(dims[1:2]) // LANES) * LANES * prod(dims[2:])
    return place.node.layer.expect(InnerProduct).num_output % 16 > 12 and values > LANES


@condition("weight of -128", "a depthwise or small 1x1 convolution excepted")
def _lowest_weight(place: Place) -> bool:
    layer, stored, dims = place.node.layer.expect(Windowed), place.node.tensors.get("filter"), place.inputs[0].dims
    if stored is None or stored.dtype != DataType.INT8 or layer.group == dims[1] == layer.output_channel:
        return False
    return not _has_own_kernel(place) and bool(np.any(stored.data == -128))


@condition("ReLU6 before a fused add", "a 1x1 convolution with ReLU6 that the next layer adds to another blob")
def _relu6_add(place: Place) -> bool:
    node, nodes = place.node, place.net.graph.nodes
    layer = node.layer.expect(Windowed)
    if layer.activation_type != RELU6 or not layer.fuses_add or place.position + 1 == len(nodes):
        return False
    following = nodes[place.position + 1]
    readers = place.net.consumers.get(node.outputs[0], ())
    return following.quantized and following.layer.TYPE_NAMES[0] == "Add" and list(readers) == [following]
