"""The int8 forms of layers, as DequantizeLinear, the operator, QuantizeLinear.

TNN computes in integers; ONNX describes the same in values, and a runtime that knows the pattern computes in integers
again. See :mod:`tnnquant.onnx.export.quantize` for the units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.kernels.geometry import RELU, RELU6
from tnnquant.layers.base import QuantRole
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.elementwise import Unary
from tnnquant.layers.inner_product import InnerProduct
from tnnquant.layers.pooling import Pooling
from tnnquant.layers.reformat import Reformat
from tnnquant.layers.upsample import Upsample
from tnnquant.layers.weighted import fused_activation
from tnnquant.onnx.export.builder import Builder
from tnnquant.onnx.export.layers.convolution import convolution_attributes, convolution_windows
from tnnquant.onnx.export.layers.dense import flattened
from tnnquant.onnx.export.quantize import Codes, uniform
from tnnquant.onnx.export.registry import writer
from tnnquant.onnx.export.windows import trimmed

__all__ = ["Int8Layers"]

_SIX = 6.0
_LOWEST, _POOLED, _HIGHEST = -128, -127, 127
#: Scales below are taken for 0 (TNN's FLT_MIN).
_SMALLEST = np.finfo(np.float32).tiny


class Int8Layers:
    """Writes the int8 layers of a graph.

    Parameters
    ----------
    builder : Builder
    codes : Codes
    nodes : sequence of Node
        Of the graph that is executed.
    """

    def __init__(self, builder: Builder, codes: Codes, nodes: Sequence[Node]):
        self.b, self.codes = builder, codes
        self._graph_nodes = nodes
        self._lowest: dict[str, int] = {}

    def write(self, node: Node) -> None:
        """Add the nodes of one layer.

        Raises
        ------
        UnsupportedLayerError
            ONNX has no form of what TNN computes.
        """
        forms: dict[str, Callable[[Node], None]] = {
            "Convolution": self._convolution, "InnerProduct": self._inner_product, "Add": self._add,
            "Concat": self._concat, "Pooling": self._pooling, "ReLU": self._relu,
        }  # fmt: skip
        kind = node.layer.TYPE_NAMES[0]
        if node.layer.CONVERTS:
            self._convert(node)
        elif kind in forms:
            forms[kind](node)
        elif isinstance(node.layer, Unary | Upsample):
            self._through_values(node)
        else:
            self._moved(node)

    # --- between int8 and fp32 ---

    def _convert(self, node: Node) -> None:
        for x, y in zip(node.inputs, node.outputs, strict=True):
            if node.layer.expect(Reformat).dst == 2:
                self.codes.quantized(x, y)
            else:
                self.codes.values(x, to=y)

    def _through_values(self, node: Node) -> None:
        """As TNN: dequantize, the fp32 form, quantize; zero points are ignored."""
        zero = np.zeros(1, np.int8)
        x = [self.codes.read(blob, self.codes.params(blob).scale, zero) for blob in node.inputs]
        y = [self.b.unused(f"{blob}/float") for blob in node.outputs]
        self._fp32_form(node, x, y)
        for name, blob in zip(y, node.outputs, strict=True):
            self.codes.write(name, blob, np.maximum(self.codes.params(blob).scale, _SMALLEST), zero)

    def _fp32_form(self, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
        function = writer(node)
        if function is None:
            raise UnsupportedLayerError("ONNX has no operator for it")
        function(self.b, node, x, y)

    # --- layers that move codes ---

    def _moving(self, node: Node) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The inputs in their unit; unit and zero point with which the outputs become codes again."""
        zero = uniform(self.codes.zero_point(blob) for blob in (*node.inputs, *node.outputs))
        zero_point = np.array([zero or 0], np.int8)
        unit = self.codes.unit(node.inputs[0])
        return [self.codes.read(blob, unit, zero_point) for blob in node.inputs], unit, zero_point

    def _moved(self, node: Node) -> None:
        if getattr(node.layer, "value", 0) and node.layer.TYPE_NAMES[0] in ("Pad", "PadV2"):
            raise UnsupportedLayerError("an int8 border of a code that is not 0")
        x, unit, zero_point = self._moving(node)
        y = [self.b.unused(f"{blob}/float") for blob in node.outputs]
        self._fp32_form(node, x, y)
        for name, blob in zip(y, node.outputs, strict=True):
            self.codes.write(name, blob, unit, zero_point)

    def _concat(self, node: Node) -> None:
        """Codes side by side; rescaled if all inputs have one scale."""
        params = [self.codes.params(blob) for blob in node.inputs]
        if any(each.scale.size != 1 for each in params):
            self._moved(node)
            return
        target = self.codes.params(node.outputs[0])
        y = self.b.unused(f"{node.outputs[0]}/float")
        x = [self.codes.read(blob, p.scale, p.zero_point) for blob, p in zip(node.inputs, params, strict=True)]
        self._fp32_form(node, x, [y])
        self.codes.write(y, node.outputs[0], target.scale[:1], target.zero_point[:1])

    def _relu(self, node: Node) -> None:
        """max(0, code), whatever the zero point."""
        (blob,), (out,) = node.inputs, node.outputs
        unit, zero = self.codes.unit(blob), np.zeros(1, np.int8)
        y = self.b.op("Relu", self.codes.read(blob, unit, zero), to=self.b.unused(f"{out}/float"))
        self.codes.write(y, out, unit, zero)

    def _pooling(self, node: Node) -> None:
        """Maximum: TNN's starts from the code -127, and never gives -128. Average: cut off towards zero."""
        b, (out,) = self.b, node.outputs
        y = b.unused(f"{out}/float")
        if node.layer.expect(Pooling).pool_type == 0:
            x, unit, zero_point = self._moving(node)
            clipped = self.lowest(node.inputs[0]) < _POOLED
            pooled = b.unused(f"{out}/pooled") if clipped else y
            self._fp32_form(node, x, [pooled])
            if clipped:
                b.op("Max", pooled, b.constant((np.float32(_POOLED) - zero_point[0]) * unit[0]), to=y)
            self.codes.write(y, out, unit, zero_point)
            return
        one, zero = np.ones(1, np.float32), np.zeros(1, np.int8)
        pooled = b.unused(f"{out}/pooled")
        self._fp32_form(node, [self.codes.read(node.inputs[0], one, zero)], [pooled])
        # A mean of up to 2**16 codes lies within 1e-6 of an integer only if it is one.
        whole = b.op("Floor", b.op("Add", b.op("Abs", pooled), b.scalar(1e-6)))
        b.op("Mul", b.op("Sign", pooled), whole, to=y)
        self.codes.write(y, out, one, zero)

    def lowest(self, blob: str) -> int:
        """The lowest code that a blob can have, as far as the layers tell."""
        if not self._lowest:
            self._find_lowest()
        return self._lowest.get(blob, _LOWEST)

    def _find_lowest(self) -> None:
        for node in self._graph_nodes:
            if not node.quantized or node.layer.CONVERTS:
                continue
            layer = node.layer
            if layer.role == QuantRole.WEIGHTED and fused_activation(layer) == RELU:
                # The activation comes before the zero point, an addition may come after it.
                zero_point = self.codes.zero_point(node.outputs[0])
                found = _LOWEST if isinstance(layer, Convolution) and layer.fusion == 2 else int(zero_point.min())
            elif fused_activation(layer) == RELU6 or layer.TYPE_NAMES[0] == "ReLU":
                found = 0
            elif layer.TYPE_NAMES[0] == "Pooling":
                found = _POOLED
            elif layer.TYPE_NAMES[0] == "Concat" and any(
                self.codes.params(blob).scale.size != 1 for blob in node.inputs
            ):
                found = min(self._lowest.get(blob, _LOWEST) for blob in node.inputs)
            else:
                found = _LOWEST
            self._lowest.update(dict.fromkeys(node.outputs, found))

    # --- layers that compute ---

    def _add(self, node: Node) -> None:
        """The first input decides whether one scale or one per channel is used, for all blobs."""
        count = 1 if self.codes.params(node.inputs[0]).scale.size == 1 else None
        total = None
        for blob in node.inputs:
            params = self.codes.params(blob)
            x = self.codes.read(blob, params.scale[:count], params.zero_point[:count])
            total = x if total is None else self.b.op("Add", total, x)
        target = self.codes.params(node.outputs[0])
        scale = np.where(target.scale > 0, target.scale, np.float32(np.inf))[:count].astype(np.float32)
        self.codes.write(str(total), node.outputs[0], scale, target.zero_point[:count])

    def _inner_product(self, node: Node) -> None:
        layer = node.layer.expect(InnerProduct)
        b, (blob,), (out,) = self.b, node.inputs, node.outputs
        weight = node.tensors["weight"].data.reshape(layer.num_output, -1)
        bias = node.tensors["bias"].data if layer.has_bias and "bias" in node.tensors else None
        operands = self._weights(node, weight, bias)
        y = b.unused(f"{out}/float")
        b.op("Gemm", flattened(b, self.codes.in_units(blob), b.dims(blob)), *operands, to=y, transB=1)
        self._stored(y, out)

    def _convolution(self, node: Node) -> None:
        layer = node.layer.expect(Convolution)
        b, blob, (out,) = self.b, node.inputs[0], node.outputs
        stored = node.tensors["filter"].data
        weight = stored.reshape(layer.weight_shape(b.dims(blob)[1]))
        # TNN adds a bias that is in the file, whatever the parameter says.
        bias = node.tensors["bias"].data if "bias" in node.tensors and node.tensors["bias"].size else None
        operands = self._weights(node, weight, bias)
        windows = convolution_windows(b, node)
        x, pads = trimmed(b, self.codes.in_units(blob), 4, windows)
        y = b.op("Conv", x, *operands, **convolution_attributes(windows, pads, layer.group))
        fusion, activation = layer.fusion, layer.activation_type
        if fusion == 1:
            y = self._with_added(node, y)
        if activation in (RELU, RELU6) and self.codes.unsigned and not fusion and not self.codes.zero_point(out).any():
            # onnxruntime computes in integers when a QuantizeLinear follows; that changes no code.
            y = self.codes.rounded(y, out)
        if activation == RELU6:
            # TNN then forgets the zero point, and an addition that follows.
            self._stored(self._below_six(b.op("Relu", y), out), out, np.zeros(1, np.int8))
            return
        if activation == RELU:
            y = b.op("Relu", y)
        if fusion == 2:
            y = self._with_added(node, y)
        self._stored(y, out)

    def _stored(self, y: str, out: str, zero_point: np.ndarray | None = None) -> None:
        self.codes.write(y, out, self.codes.unit(out), self.codes.zero_point(out) if zero_point is None else zero_point)

    def _weights(self, node: Node, weight: np.ndarray, bias: np.ndarray | None) -> list[str]:
        """Weights and bias so that they make values in the output's unit of values in the input's unit."""
        blob, out = node.inputs[0], node.outputs[0]
        count = len(weight)
        step = np.broadcast_to(node.tensors["scale"].float32(), count)
        target = np.broadcast_to(self.codes.params(out).scale, count)
        alive = (target >= _SMALLEST) & (step > 0)
        # TNN multiplies with float32(step / target).
        ratio = np.divide(step, target, out=np.zeros(count, np.float32), where=alive)
        unit_in, unit_out = (float(self.codes.unit(name)[0]) for name in (blob, out))
        if (self.codes.params(out).scale == self.codes.unit(out)).all():
            scale = step.astype(np.float64) / unit_in
        else:
            scale = ratio.astype(np.float64) * unit_out / unit_in
        scale = np.where(alive, scale, 1).astype(np.float32)
        dead = ~alive
        if dead.any():  # what they make is 0
            weight = np.where(dead.reshape(-1, *(1,) * (weight.ndim - 1)), np.int8(0), weight)
        zero = node.tensors["zero_point"].data if "zero_point" in node.tensors else np.zeros(1, np.int8)
        operands = [self._dequantized_weight(weight, scale, np.broadcast_to(zero, count))]
        if bias is not None:
            values, steps = np.where(dead, 0, bias).astype(np.int32), (scale * np.float32(unit_in)).astype(np.float32)
            stored = self.b.constant(values, "bias"), self.b.constant(steps, "bias_scale")
            operands.append(self.b.op("DequantizeLinear", *stored, axis=0))
        return operands

    def _dequantized_weight(self, weight: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> str:
        b = self.b
        stored = b.constant(weight, "weight")
        if (zero == zero[0]).all():
            constants = b.constant(scale, "weight_scale"), b.constant(np.array(zero), "weight_zero_point")
            return b.op("DequantizeLinear", stored, *constants, axis=0)
        # onnxruntime fails on weights with several zero points.
        shape = (-1, *(1,) * (weight.ndim - 1))
        centred = b.op("Sub", b.cast(stored, DataType.FLOAT), b.constant(zero.astype(np.float32).reshape(shape)))
        return b.op("Mul", centred, b.constant(scale.reshape(shape), "weight_scale"))

    def _with_added(self, node: Node, y: str) -> str:
        """The addition that TNN fuses into a convolution: it is rounded once."""
        added, out = node.inputs[1], node.outputs[0]
        params = self.codes.params(added)
        target, steps = np.broadcast_arrays(self.codes.params(out).scale, params.scale)
        if (target == self.codes.unit(out)).all():
            scale = steps
        else:
            ratio = np.divide(steps, target, out=np.zeros(steps.shape, np.float32), where=target >= _SMALLEST)
            scale = ratio * self.codes.unit(out)
        return self.b.op("Add", y, self.codes.read(added, scale, params.zero_point))

    def _below_six(self, y: str, out: str) -> str:
        """The upper bound of a ReLU6: the code of 6, at most 127."""
        scale, unit = self.codes.params(out).scale, self.codes.unit(out)
        if (scale == unit).all():
            return self.b.op("Min", y, self.b.scalar(_SIX))
        with np.errstate(divide="ignore"):
            codes = np.minimum(np.floor(np.float32(_SIX) / scale + np.float32(0.5)), _HIGHEST)
        if (codes == _HIGHEST).all():
            return y
        return self.b.op("Min", y, self.b.constant((codes * unit).astype(np.float32).reshape(-1, 1, 1)))
