"""Layers kept in fp32 that compute the very integers of the file.

TNN's int8 layers know no zero points, and their biases hold whole steps of the sums alone. In fp32 nothing of that
binds: a blob holds ``code - zero`` of each code, a whole number, as a float; a convolution multiplies them by the whole
numbers of the weights, and its sums are exact up to 2**24. What follows is what onnxruntime does: the factor of the
channel, one product in float32; rounding, halves to even; saturation. TNN rounds halves away from 0, but adding and
subtracting 1.5 * 2**23 rounds a float as the processor rounds, to even.

Rewritten are the layers around blobs whose zero point is not 0, and those whose weights have one:

- convolutions and inner products by their integers;
- sums of two blobs, products, averages and Concat as onnxruntime's own operators compute them on x86;
- maxima and layers that only move values as they are;
- all others in values, ``scale * (code - zero)``; what they make is rounded as QuantizeLinear does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.graph import Graph, Node
from tnnquant.kernels.geometry import NO_ACTIVATION, RELU, RELU6
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.layers.binary import Add, Mul
from tnnquant.layers.clip import Relu
from tnnquant.layers.concat import Concat
from tnnquant.layers.deconvolution import Deconvolution
from tnnquant.layers.permute import Permute
from tnnquant.layers.pooling import AVERAGE, MAX, Pooling
from tnnquant.layers.reduce import ReduceSum
from tnnquant.layers.reshape import Flatten, Reshape
from tnnquant.layers.shuffle import PixelShuffle, Reorg, ShuffleChannel
from tnnquant.layers.squeeze import Squeeze, Unsqueeze
from tnnquant.layers.upsample import NEAREST, Upsample
from tnnquant.layers.weighted import FusesActivation, Weighted, fused_activation
from tnnquant.onnx.qdq.parts import Names, added, clipped, divided, scaled
from tnnquant.onnx.qdq.record import BlobCodes, Records, WeightCodes
from tnnquant.onnx.qdq.ties import factor_of_codes, sum_of_codes

__all__ = ["Integers", "in_integers"]

#: Added and subtracted, it rounds floats of less than 2**22 to whole numbers, halves to even.
ROUNDER = float(3 << 22)
#: Sums of whole numbers up to this are exact in float32, in any order.
EXACT = 1 << 24
_LOWEST, _HIGHEST = -128, 127
_SIX = 6.0
_HEIGHT, _WIDTH = 2, 3
_SHAPES = Reshape | Flatten | Permute | Squeeze | Unsqueeze | PixelShuffle | Reorg | ShuffleChannel


@dataclass(frozen=True, eq=False)
class Integers:
    """The graph with those layers rewritten, still in fp32.

    Attributes
    ----------
    graph : Graph
    layers : list of str
        The convolutions and inner products that compute with integers.
    beyond : list of str
        Those of them whose sums of products may, for some input, exceed what float32 holds exactly.
    blobs : dict of str to str
        The blob of the converted model of which each blob holds ``code - zero``.
    """

    graph: Graph
    layers: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    blobs: dict[str, str] = field(default_factory=dict)


def in_integers(
    graph: Graph, specs: Mapping[str, BlobSpec], codes: Mapping[str, BlobCodes], records: Records, *,
    half: bool = False,
) -> Integers:  # fmt: skip
    """Rewrite the layers around zero points other than 0.

    Parameters
    ----------
    graph : Graph
        In fp32, resolved.
    specs : mapping of str to BlobSpec
    codes : mapping of str to BlobCodes
        Of its blobs.
    records : Records
        Where the integers of the weights are found.
    half : bool
        Store the weights, which are whole numbers up to 255, as float16.
    """
    writer = _Writer(graph, specs, codes, records, half)
    for node in graph.nodes:
        writer.write(node)
    for blob in graph.outputs:
        writer.real(blob)
    return writer.result(graph)


class _Writer:
    """Writes nodes in order. Of a blob there are its values, under its own name, and its integers, made when asked
    for; at least one of them after its maker."""

    def __init__(
        self, graph: Graph, specs: Mapping[str, BlobSpec], codes: Mapping[str, BlobCodes], records: Records, half: bool
    ) -> None:
        self._graph, self._specs, self._codes, self._records, self._half = graph, specs, codes, records, half
        self._names = Names(graph)
        self._nodes: list[Node] = []
        self._integers: dict[str, str] = {}
        self._values: dict[str, str] = {blob: blob for blob in (*graph.inputs, *graph.constants)}
        self._layers: list[str] = []
        self._beyond: list[str] = []
        for blob in graph.inputs:
            if self._has_zero(blob):
                del self._values[blob]
                self._round(blob, blob)

    def result(self, graph: Graph) -> Integers:
        """What has been written."""
        blobs: dict[str, str] = {}
        for blob, name in self._integers.items():
            blobs.setdefault(name, blob)
        return Integers(graph.with_nodes(self._nodes), self._layers, self._beyond, blobs)

    # --- versions of a blob ---

    def _has_zero(self, *blobs: str) -> bool:
        return any(blob in self._codes and bool(self._codes[blob].zero.any()) for blob in blobs)

    def _is_whole(self, *blobs: str) -> bool:
        """Whether all have codes with one scale, and one of them a zero point."""
        have = all(blob in self._codes and self._codes[blob].scale.size == 1 for blob in blobs)
        return have and self._has_zero(*blobs)

    def real(self, blob: str) -> str:
        """The values of a blob; of one that only has integers they are made."""
        if blob not in self._values and blob in self._integers:
            is_free = blob not in self._graph.inputs
            target = self._values[blob] = blob if is_free else self._names.new(f"{blob}_rounded")
            self._nodes.append(scaled(self._integers[blob], target, self._codes[blob].scale, self._names))
        return self._values.get(blob, blob)

    def integer(self, blob: str) -> str:
        """``code - zero`` of a blob that has codes."""
        if blob not in self._integers:
            self._round(self.real(blob), blob)
        return self._integers[blob]

    def _round(self, values: str, blob: str) -> None:
        """The integers of a blob, from values that may lie between codes: as QuantizeLinear."""
        steps = self._names.new(f"{blob}_steps")
        self._nodes.append(divided(values, steps, self._codes[blob].scale, self._names))
        self._saturate(steps, blob)

    def _saturate(self, steps: str, blob: str, *, offset: int = 0, activation: int = NO_ACTIVATION) -> None:
        """The integers of a blob, from ``offset`` plus its values in steps of its codes: rounded and cut off."""
        codes = self._codes[blob]
        target = self._integers[blob] = self._names.new(f"{blob}_codes")
        self._rounded(steps, target, codes, offset, activation)

    def _rounded(
        self, steps: str, target: str, codes: BlobCodes, offset: int = 0, activation: int = NO_ACTIVATION
    ) -> None:
        raised, whole = self._names.new(f"{target}_raised"), self._names.new(f"{target}_whole")
        zero = codes.zero.astype(np.float64)
        is_one = bool((zero == zero[0]).all())
        shift = np.zeros(1) if is_one else zero  # bounds are one for all channels: those of the codes themselves
        low, high = (float(end - zero[0]) if is_one else float(end) for end in (_LOWEST, _HIGHEST))
        if activation in (RELU, RELU6) and is_one:
            low = max(low, 0.0)
        if activation == RELU6 and is_one:
            high = min(high, float(np.rint(np.float32(_SIX) / codes.scale[0])))
        self._nodes += [
            added(steps, raised, np.array([ROUNDER]), self._names),
            added(raised, whole, shift - ROUNDER - offset, self._names),
        ]
        cut = target if is_one else self._names.new(f"{target}_cut")
        self._nodes.append(clipped(whole, cut, low, high, self._names))
        if not is_one:
            self._nodes.append(added(cut, target, -zero, self._names))

    # --- layers ---

    def write(self, node: Node) -> None:
        """Append a layer, in integers where the file has zero points, else in values."""
        if len(node.outputs) != 1 or not self._write_integers(node, node.outputs[0]):
            self._write_values(node)

    def _write_values(self, node: Node) -> None:
        inputs = tuple(self.real(blob) for blob in node.inputs)
        outputs = tuple(self._names.new(f"{o}_exact") if self._has_zero(o) else o for o in node.outputs)
        self._nodes.append(node.replace(inputs=inputs, outputs=outputs))
        for blob, name in zip(node.outputs, outputs, strict=True):
            if self._has_zero(blob):
                self._round(name, blob)
            else:
                self._values[blob] = name

    def _write_integers(self, node: Node, out: str) -> bool:
        """Append a layer in integers, if there is a form of it."""
        layer = node.layer
        if layer.role == QuantRole.WEIGHTED:
            return self._write_weighted(node, out)
        if not self._is_whole(*node.inputs, out):
            return False
        is_same = all(self._codes[blob].same(self._codes[out]) for blob in node.inputs)
        if isinstance(layer, Add) and len(node.inputs) == 2:
            return self._write_sum(node, out)
        if isinstance(layer, Mul) and len(node.inputs) == 2:
            return self._write_product(node, out)
        if isinstance(layer, Concat):
            return self._write_concat(node, out)
        if isinstance(layer, Pooling) and layer.pool_type == AVERAGE and not layer.is_adaptive:
            return self._write_average(node, layer, out)
        if not is_same or len(node.inputs) != 1:
            return False
        if isinstance(layer, Relu) and self._codes[out].zero[0] == _LOWEST:
            self._integers[out] = self.integer(node.inputs[0])  # none of its codes is below 0
            return True
        is_nearest = isinstance(layer, Upsample) and layer.mode == NEAREST
        is_maximum = isinstance(layer, Pooling) and layer.pool_type == MAX and not layer.is_adaptive
        if not (is_nearest or is_maximum or isinstance(layer, _SHAPES | Relu)):
            return False
        self._append(node, (self.integer(node.inputs[0]),), self._new(out))
        return True

    def _new(self, blob: str) -> str:
        name = self._integers[blob] = self._names.new(f"{blob}_codes")
        return name

    def _append(self, node: Node, inputs: tuple[str, ...], output: str) -> None:
        self._nodes.append(node.replace(inputs=inputs, outputs=(output,)))

    def _write_weighted(self, node: Node, out: str) -> bool:
        layer, source = node.layer.expect(Weighted), node.inputs[0]
        values = node.tensors.get(layer.WEIGHTS)
        record = None if values is None else self._records.weights.get(Records.key(values.float32()))
        if record is None or values is None or not {source, out} <= self._codes.keys():
            return False
        if not (self._has_zero(source, out) or record.zero.any()) or self._codes[source].scale.size > 1:
            return False
        if isinstance(layer, Deconvolution) and (record.scale.size > 1 or record.zero.size > 1):
            return False
        activation = fused_activation(layer)
        is_one = bool((self._codes[out].zero == self._codes[out].zero[0]).all() and self._codes[out].scale.size == 1)
        if activation not in (NO_ACTIVATION, RELU, RELU6) or (activation != NO_ACTIVATION and not is_one):
            return False
        integers, factor = self._weighted(node, layer, record, out)
        sums, steps = self._names.new(f"{out}_sums"), self._names.new(f"{out}_steps")
        self._append(integers, (self.integer(source), *node.inputs[1:]), sums)
        self._nodes.append(scaled(sums, steps, factor, self._names))
        self._saturate(steps, out, activation=activation)
        self._layers.append(node.name)
        return True

    def _weighted(self, node: Node, layer: Weighted, record: WeightCodes, out: str) -> tuple[Node, np.ndarray]:
        """The layer with the integers of weights and bias, and the factor of its sums by channel, float32 (C,)."""
        count, read = layer.outputs, self._codes[node.inputs[0]]
        step = np.broadcast_to((record.scale * read.scale).astype(np.float32), count)
        bias = node.tensors.get("bias")
        summand = bias.float32().astype(np.float64) if bias is not None and bias.size else np.zeros(count)
        weights = record.codes.astype(np.int64).reshape(count, -1) - np.broadcast_to(record.zero, count)[:, None]
        with np.errstate(all="ignore"):
            summand = np.nan_to_num(np.rint(summand / step))
        reach = max(_HIGHEST - int(read.zero.min()), int(read.zero.max()) - _LOWEST)
        # The bias comes last: one rounding of a sum, as when onnxruntime makes a float of its int32.
        if (np.abs(weights).sum(axis=1) * reach).max() > EXACT:
            self._beyond.append(node.name)
        dtype, kind = (np.float16, DataType.HALF) if self._half else (np.float32, DataType.FLOAT)
        tensors = {
            **node.tensors,
            layer.WEIGHTS: Tensor(weights.reshape(-1).astype(dtype), node.tensors[layer.WEIGHTS].dims, kind),
            "bias": Tensor(summand.astype(np.float32), (), DataType.FLOAT),
        }
        plain = layer.with_activation(NO_ACTIVATION) if isinstance(layer, FusesActivation) else layer
        plain = replace(plain, **{layer.BIAS_FLAG: 1})
        assert node.resource is not None  # it has weights
        resource = replace(node.resource, tensors=tensors, extras={**node.resource.extras, "has_bias": 1})
        return node.replace(layer=plain, resource=resource), (step / self._codes[out].scale).astype(np.float32)

    def _write_sum(self, node: Node, out: str) -> bool:
        if len({self._specs[blob].dims for blob in (*node.inputs, out)}) > 1:
            return False
        a, b = (self._codes[blob] for blob in node.inputs)
        codes = self._codes[out]
        first, second, constant = sum_of_codes(a, b, codes)
        parts = []
        for blob, factor, summand in zip(node.inputs, (first, second), (np.float32(0), constant), strict=True):
            source, zero = self.integer(blob), self._codes[blob].stored_zero
            if zero:
                raw = self._names.new(f"{blob}_raw")
                self._nodes.append(added(source, raw, np.array([zero]), self._names))
                source = raw
            part = self._names.new(f"{blob}_part")
            self._nodes.append(scaled(source, part, np.array([factor]), self._names))
            if summand:
                shifted = self._names.new(f"{blob}_shifted")
                self._nodes.append(added(part, shifted, np.array([summand]), self._names))
                part = shifted
            parts.append(part)
        steps = self._names.new(f"{out}_steps")
        self._append(node, (parts[0], parts[1]), steps)
        self._saturate(steps, out, offset=codes.stored_zero)
        return True

    def _write_product(self, node: Node, out: str) -> bool:
        a, b = (self._codes[blob].scale for blob in node.inputs)
        products, steps = self._names.new(f"{out}_products"), self._names.new(f"{out}_steps")
        self._append(node, tuple(self.integer(blob) for blob in node.inputs), products)
        factor = (a * b / self._codes[out].scale).astype(np.float32)
        self._nodes.append(scaled(products, steps, factor, self._names))
        self._saturate(steps, out)
        return True

    def _write_concat(self, node: Node, out: str) -> bool:
        inputs = []
        for blob in node.inputs:
            source, codes = self.integer(blob), self._codes[blob]
            if not codes.same(self._codes[out]):
                steps, target = self._names.new(f"{blob}_steps"), self._names.new(f"{blob}_recoded")
                factor = factor_of_codes(codes, self._codes[out])
                if factor is None:
                    self._nodes.append(divided(self.real(blob), steps, self._codes[out].scale, self._names))
                else:
                    self._nodes.append(scaled(source, steps, np.array([factor]), self._names))
                self._rounded(steps, target, self._codes[out])
                source = target
            inputs.append(source)
        self._append(node, tuple(inputs), self._new(out))
        return True

    def _write_average(self, node: Node, layer: Pooling, out: str) -> bool:
        """The average of whole maps as a sum, which is exact, and one product; other averages as fp32 has them."""
        (blob,) = node.inputs
        dims, made = self._specs[blob].dims, self._specs[out].dims
        read, codes = self._codes[blob].scale, self._codes[out].scale
        is_global = made[2:] == (1, 1) and layer.kernel(dims) == dims[2:] and (layer.pad_h, layer.pad_w) == (0, 0)
        middle, steps = self._names.new(f"{out}_averages"), self._names.new(f"{out}_steps")
        source = self.integer(blob)
        factor = read / codes
        if is_global:
            node = Node(node.name, "ReduceSum", ReduceSum(keep_dims=1, axes=(_HEIGHT, _WIDTH)), (), ())
            factor = read / (codes * np.float32(dims[_HEIGHT] * dims[_WIDTH]))
        self._append(node, (source,), middle)
        self._nodes.append(scaled(middle, steps, factor.astype(np.float32), self._names))
        self._saturate(steps, out)
        return True
