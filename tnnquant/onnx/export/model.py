"""A graph as an ONNX model: fp32 layers as plain operators, int8 ones as QDQ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.errors import ConfigError, TnnQuantError, UnsupportedLayerError
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import Inference, infer
from tnnquant.graph.lower import lower
from tnnquant.graph.passes import widen_dynamic_range
from tnnquant.onnx.export.builder import Builder, element_type
from tnnquant.onnx.export.int8 import Int8Layers
from tnnquant.onnx.export.quantize import Codes
from tnnquant.onnx.export.registry import writer

if TYPE_CHECKING:
    import onnx

__all__ = ["DEFAULT_OPSET", "OLDEST_OPSET", "export_graph"]

DEFAULT_OPSET = 17
#: The first with a QuantizeLinear and DequantizeLinear of one scale per channel.
OLDEST_OPSET = 13
#: Layers whose outputs follow from the dims of their inputs.
_OF_DIMS = ("Shape", "Size", "PriorBox")
#: Layers that make fewer elements than their dims say.
_VARIABLE = ("NonMaxSuppression", "NonZero")


def export_graph(
    graph: Graph,
    *,
    opset: int = DEFAULT_OPSET,
    unsigned: bool = False,
    input_dims: Mapping[str, Sequence[int]] | None = None,
    name: str = "tnn",
) -> onnx.ModelProto:
    """Write a graph as an ONNX model of the same inputs and outputs.

    Parameters
    ----------
    graph : Graph
        fp32 or int8.
    opset : int
        Version of ONNX's operators, 13 or later.
    unsigned : bool
        Activations of int8 layers are uint8 with a zero point of 128 instead of int8: the same codes, which onnxruntime
        computes as integers on x86 processors. TensorRT takes int8 alone.
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto.
    name : str
        Of the ONNX graph.

    Returns
    -------
    onnx.ModelProto
        Checked by ``onnx.checker``. Inputs and outputs of int8 models are float32, as those of the Executor.

    Raises
    ------
    ConfigError
        An opset that is too old, or that the installed onnx does not know.
    UnsupportedLayerError
        Layers that ONNX cannot express; all are named.
    """
    import onnx
    from onnx import helper

    _check_opset(opset)
    graph = lower(graph) if graph.is_quantized else widen_dynamic_range(graph)
    inference = infer(graph, input_dims)
    builder = _Walk(inference, opset, unsigned).run()
    graph, specs = inference.graph, inference.specs
    inputs = [_value_info(blob, DataType.FLOAT if blob in graph.scales else specs[blob].dtype, specs[blob].dims)
              for blob in graph.inputs]  # fmt: skip
    outputs = [_value_info(blob, *_declared(blob, inference)) for blob in graph.outputs]
    made = helper.make_graph(builder.nodes, name, inputs, outputs, builder.initializers)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(made, opset_imports=opsets, producer_name="tnnquant")
    model.ir_version = helper.find_min_ir_version_for(opsets)
    onnx.checker.check_model(model)
    return model


def _check_opset(opset: int) -> None:
    from onnx import defs

    newest = defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise ConfigError(f"opset is {opset}, expected {OLDEST_OPSET} to {newest}, the newest of the installed onnx")


def _value_info(name: str, dtype: DataType, dims: Sequence[int | str]) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(name, element_type(dtype), list(dims))


def _declared(blob: str, inference: Inference) -> tuple[DataType, Sequence[int | str]]:
    """Data type and dims of an output; dims that depend on values have a name."""
    spec = inference.specs[blob]
    dtype = DataType.FLOAT if _is_scaled(blob, inference) else spec.dtype
    variable: set[str] = set()
    for node in inference.graph.nodes:
        if node.layer.TYPE_NAMES[0] in _VARIABLE or variable.intersection(node.inputs):
            variable.update(node.outputs)
    return dtype, [f"{blob}_{i}" for i in range(len(spec.dims))] if blob in variable else spec.dims


def _is_scaled(blob: str, inference: Inference) -> bool:
    return blob in inference.graph.scales and inference.specs[blob].dtype == DataType.INT8


class _Walk:
    """Writes the layers of a graph in their order."""

    def __init__(self, inference: Inference, opset: int, unsigned: bool):
        self.inference, self.graph = inference, inference.graph
        self.b = Builder(opset, inference.specs, set(inference.specs))
        self.codes = Codes(self.b, self.graph, unsigned=unsigned)
        self.int8 = Int8Layers(self.b, self.codes, self.graph.nodes)
        self._stored: set[str] = set()
        self._refused: list[str] = []

    def run(self) -> Builder:
        """The finished builder."""
        self.b.known = {blob: tensor.array() for blob, tensor in self.graph.constants.items()}
        for blob in self.graph.inputs:
            if _is_scaled(blob, self.inference):
                self.b.scope = blob
                self.codes.quantized(blob, blob)
        for position, node in enumerate(self.graph.nodes):
            if position not in self.inference.folded:
                self._layer(node)
        if self._refused:
            raise UnsupportedLayerError("ONNX cannot express: " + "; ".join(self._refused))
        self._outputs()
        return self.b

    def _layer(self, node: Node) -> None:
        b = self.b
        b.scope = node.name
        try:
            if node.quantized:
                for blob in node.inputs:
                    self._store(blob)
                self.int8.write(node)
            elif not self._folded(node):
                function = writer(node)
                if function is None:
                    raise UnsupportedLayerError(_WHY.get(node.layer.TYPE_NAMES[0], "ONNX has no operator for it"))
                for blob in node.inputs:
                    self._store(blob)
                function(b, node, node.inputs, node.outputs)
        except TnnQuantError as error:
            self._refused.append(f"{node}: {error}")

    def _folded(self, node: Node) -> bool:
        """Whether the outputs are known now: the layer is computed, and not written."""
        known, kind = self.b.known, node.layer.TYPE_NAMES[0]
        if kind in _OF_DIMS:
            inputs = [np.zeros(self.b.dims(blob), self.b.specs[blob].dtype.numpy) for blob in node.inputs]
        elif node.inputs and all(blob in known for blob in node.inputs) and kind not in _VARIABLE:
            inputs = [known[blob] for blob in node.inputs]
        else:
            return False
        specs = [self.b.specs[blob] for blob in node.inputs]
        results = node.layer.forward(inputs, node.layer.prepare(node.tensors, specs))
        known.update({blob: np.array(x) for blob, x in zip(node.outputs, results, strict=False)})
        return True

    def _store(self, blob: str) -> None:
        """A constant that is read becomes an initializer of its name."""
        if blob in self.b.known and blob not in self._stored:
            self._stored.add(blob)
            self.b.blob(blob, self.b.known[blob])

    def _outputs(self) -> None:
        b = self.b
        for blob in self.graph.outputs:
            b.scope = blob
            if _is_scaled(blob, self.inference) and blob not in self.graph.inputs:
                self.codes.values(blob, to=blob)
            elif blob in b.known and blob not in self._stored:
                b.op("Identity", b.constant(b.known[blob]), to=blob)


#: Why a layer type has no form in ONNX, where there is more to say.
_WHY: dict[str, str] = {
    "DetectionOutput": "ONNX has no operator for it; make the boxes and scores outputs in its place",
    "DetectionPostProcess": "ONNX has no operator for it; make the boxes and scores outputs in its place",
}
