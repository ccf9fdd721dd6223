"""The error of every int8 layer on its own: all before it is fp32.

Three graphs of unconnected layers stand beside the fp32 network and are fed with its blobs:

========  ==========================  ============  ==========================================================
graph     inputs                      layers        what its outputs show
========  ==========================  ============  ==========================================================
total     fp32, quantized             int8          the whole error of the layer
weights   fp32                        fp32          int8 weights made fp32 again: the error of the weights alone
blobs     fp32, quantized and back    fp32          original weights, output quantized: the error of the activations
========  ==========================  ============  ==========================================================

Layers of dynamic range (int8 weights, fp32 arithmetic) are in the second graph: weights are all they differ in.

One pass of the network gives the inputs of all layers, so that the cost is that of three more passes, whatever the
number of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.engine.executor import Executor
from tnnquant.errors import GraphError
from tnnquant.graph import Graph, InputSpec, Node, Resource
from tnnquant.inspect.measure import ErrorSums, as_rows
from tnnquant.inspect.summary import weight_name
from tnnquant.inspect.weights import bias_values, real_weights
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.layers.weighted import FusesActivation

__all__ = ["Isolated", "Requantizer"]

#: In front of a blob's name: the output of a layer that stands alone.
ALONE = "alone:"


class Requantizer:
    """Blobs as they come out of int8: quantized and dequantized; memory is kept for the next sample."""

    def __init__(self, scales: Mapping[str, QuantParams]):
        self._scales = scales
        self._room: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, name: str, x: np.ndarray) -> np.ndarray:
        """float32 (P, C) of rows x, float32 (P, C); valid until the next call for a blob of this name and shape."""
        from tnnquant.kernels.eltwise_i8 import Scales, quantize_i8

        codes, _ = self._room_for(name, x.shape)
        params = self._scales[name]
        quantize_i8(x[None, None], Scales(params.scale, params.zero_point), codes[None, None])
        return self.real(name, codes)

    def real(self, name: str, codes: np.ndarray) -> np.ndarray:
        """Codes, int8 (P, C), as float32 (P, C)."""
        from tnnquant.kernels.eltwise_i8 import Scales, dequantize_i8

        _, real = self._room_for(name, codes.shape)
        params = self._scales[name]
        dequantize_i8(codes[None, None], Scales(params.scale, params.zero_point), real[None, None])
        return real

    def _room_for(self, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        if (name, shape) not in self._room:
            self._room[name, shape] = np.empty(shape, np.int8), np.empty(shape, np.float32)
        return self._room[name, shape]


class Isolated:
    """Measures every int8 layer alone, and its weights and activations apart.

    Parameters
    ----------
    quantized : Graph
        The int8 model, as in its file.
    fp32 : Graph
        The network it was made from, in the form that is quantized.
    specs : mapping of str to BlobSpec
        Of the blobs of ``fp32``.

    Attributes
    ----------
    total, weights, blobs : dict of str to ErrorSums
        By layer name. Layers without weights are in ``total`` alone: all their error is that of activations.
    """

    def __init__(self, quantized: Graph, fp32: Graph, specs: Mapping[str, BlobSpec]):
        self.scales = quantized.scales
        self.nodes = [node for node in quantized.nodes if node.quantized and _is_comparable(node, specs)]
        weighted = [node for node in self.nodes if node.layer.role == QuantRole.WEIGHTED]
        dynamic = [node for node in quantized.nodes if _is_dynamic(node) and _is_comparable(node, specs)]
        self._dynamic = [node.name for node in dynamic]
        originals = {node.name: node for node in fp32.nodes}
        self._total = self._stand_alone(self.nodes, specs, quantized.scales)
        self._weights = self._stand_alone(
            [_activated(_dequantized(node, specs, quantized.scales), originals.get(node.name)) for node in weighted]
            + [_widened(node) for node in dynamic],
            specs, {},
        )  # fmt: skip
        kept = [_with_original_weights(node, originals.get(node.name)) for node in weighted]
        kept = [node and _activated(node, originals[node.name]) for node in kept]
        self._blobs = self._stand_alone([node for node in kept if node], specs, {})
        # Two: an input must last until all its readers have run, the output of its maker among them.
        self._feed, self._requantize = Requantizer(quantized.scales), Requantizer(quantized.scales)
        self.total: dict[str, ErrorSums] = {}
        self.weights: dict[str, ErrorSums] = {}
        self.blobs: dict[str, ErrorSums] = {}

    def _stand_alone(self, nodes: list[Node], specs: Mapping[str, BlobSpec], scales: Mapping) -> Executor | None:
        """An executor of layers that read model inputs and are read by nothing."""
        if not nodes:
            return None
        blobs = dict.fromkeys(blob for node in nodes for blob in node.inputs)
        named = {ALONE + blob: scales[blob] for node in nodes for blob in node.outputs if blob in scales}
        alone = tuple(node.replace(outputs=tuple(ALONE + blob for blob in node.outputs)) for node in nodes)
        inputs = {blob: InputSpec(specs[blob].dims) for blob in sorted(blobs)}
        return Executor(Graph(inputs, (), alone, {}, {**scales, **named}), exact=False)

    def add(self, blobs: Mapping[str, np.ndarray]) -> None:
        """Take in the fp32 blobs of one sample, in logical shape."""
        rows: dict[str, np.ndarray] = {}

        def reference(name: str) -> np.ndarray:
            if name not in rows:
                rows[name] = as_rows(blobs[name])
            return rows[name]

        self._run(self._total, blobs, self.total, reference)
        self._run(self._weights, blobs, self.weights, reference)
        self.total.update({name: self.weights[name] for name in self._dynamic})
        if self._blobs is not None:
            fed = {
                name: _from_rows(self._feed(name, reference(name)), blobs[name].shape)
                for name in self._blobs.graph.inputs
            }
            self._run(self._blobs, fed, self.blobs, reference, requantize=True)

    def _run(
        self, executor: Executor | None, blobs: Mapping, sums: dict, reference: Callable[[str], np.ndarray], *,
        requantize: bool = False,
    ) -> None:  # fmt: skip
        if executor is None:
            return
        names = {node.outputs[0]: node.name for node in executor.graph.nodes}

        def tap(blob: str, array: np.ndarray) -> None:
            if blob not in names:
                return
            name, want = blob.removeprefix(ALONE), reference(blob.removeprefix(ALONE))
            got = as_rows(array)
            if got.dtype == np.int8:
                got = self._requantize.real(name, got)
            elif requantize:
                got = self._requantize(name, got)
            sums.setdefault(names[blob], ErrorSums(want.shape[1])).add(want, got)

        executor.run({name: blobs[name] for name in executor.graph.inputs}, tap)


def _is_dynamic(node: Node) -> bool:
    return node.dynamic_range and node.layer.role == QuantRole.WEIGHTED


def _widened(node: Node) -> Node:
    return _as_fp32(node, node.layer.widened(node.tensors)).replace(dynamic_range=False)


def _is_comparable(node: Node, specs: Mapping[str, BlobSpec]) -> bool:
    return all(blob in specs and specs[blob].dtype == DataType.FLOAT for blob in (*node.inputs, *node.outputs))


def _dequantized(node: Node, specs: Mapping[str, BlobSpec], scales: Mapping[str, QuantParams]) -> Node:
    """An int8 layer as an fp32 one with the weights and the bias that its codes stand for."""
    weights = real_weights(node, specs[node.outputs[0]].dims[1], scales.get(node.inputs[0]))
    # The layers that are asked for are those with weights.
    assert weights is not None
    tensors = {weight_name(node): Tensor(weights.reshape(-1))}
    bias = bias_values(node)
    if bias is not None:
        tensors["bias"] = Tensor(bias)
    return _as_fp32(node, tensors)


def _with_original_weights(node: Node, original: Node | None) -> Node | None:
    """An int8 layer as an fp32 one with the weights it was made from; None if there are none of that size."""
    name = weight_name(node)
    if original is None or name not in original.tensors or original.tensors[name].size != node.tensors[name].size:
        return None
    return _as_fp32(node, {key: original.tensors[key] for key in (name, "bias") if key in original.tensors})


def _as_fp32(node: Node, tensors: Mapping[str, Tensor]) -> Node:
    kind = node.layer.TYPE_NAMES[0]
    return node.replace(type_string=kind, quantized=False, resource=Resource(tensors, {}, kind))


def _activated(node: Node, original: Node | None) -> Node:
    """With the activation that the layer has in fp32, which saturation may stand for in int8."""
    fused = None if original is None else original.layer
    if not isinstance(fused, FusesActivation) or fused.activation_type not in (1, 2):
        return node
    return node.replace(layer=node.layer.expect(FusesActivation).with_activation(fused.activation_type))


def _from_rows(rows: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """The blob of logical dims whose :func:`~tnnquant.inspect.measure.as_rows` is ``rows``; channels-last memory."""
    if len(dims) < 2:
        return rows.reshape(dims)
    return np.moveaxis(rows.reshape(dims[0], *dims[2:], dims[1]), -1, 1)


def check_same_network(quantized: Graph, fp32: Graph) -> None:
    """Raise GraphError unless most int8 blobs exist in the fp32 network.

    Raises
    ------
    GraphError
        They share no int8 blob: these are two networks.
    """
    names = fp32.blob_names() | set(fp32.inputs)
    int8 = {blob for node in quantized.nodes if node.quantized or node.dynamic_range for blob in node.outputs}
    if not int8 & names:
        raise GraphError(
            f"the fp32 model has none of the int8 model's blobs ({', '.join(sorted(int8)[:3])}, ...): is the one made "
            "from the other?"
        )
