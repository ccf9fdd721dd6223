"""Inner product, also called fully connected (docs/tnn-format.md, 5.1, 6.4, 7.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.base.arithmetic import with_sum_mode
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobScales, BlobSpec, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import ScaleField, TensorField, TextField, param
from tnnquant.layers.halves import int8_form
from tnnquant.layers.int8 import PixelInt8, int8_quant
from tnnquant.layers.weighted import Weighted

if TYPE_CHECKING:
    from tnnquant.kernels.pack_f32 import PackedConv
    from tnnquant.kernels.pack_i8 import PackedConvI8

__all__ = ["InnerProduct"]


@layer(
    19, "InnerProduct", "InnerProduct_nhwc", "QuantizedInnerProduct", "DynamicRangeQuantizedInnerProduct"
)
class InnerProduct(Weighted):
    """``y[n, o] = sum_k x[n, k] * w[o, k] + b[o]``, x flattened after the batch axis in the order c, h, w."""

    PER_TENSOR_BLOBS = True
    WEIGHTS = "weight"
    BIAS_FLAG = "has_bias"
    RESOURCE = (TextField(), TensorField("weight"), TensorField("bias"), ScaleField("weight"))

    num_output: int = param()
    has_bias: int = param()
    transpose: int = param()
    axis: int = param()

    @property
    def outputs(self) -> int:
        return self.num_output

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs[:1], 1)
        check_types(inputs[:1], DataType.FLOAT, DataType.INT8)
        if len(inputs[0].dims) < 2:
            raise GraphError(f"the input has the dims {inputs[0].dims}, expected at least 2 (N, ...)")
        if self.axis != 1:
            raise UnsupportedLayerError(
                f"axis is {self.axis}; TNN's kernel ignores any but 1 and leaves part of the output unwritten"
            )
        return [BlobSpec((inputs[0].dims[0], self.num_output), inputs[0].dtype)]

    def weight_array(self, tensors: Mapping[str, Tensor]) -> np.ndarray:
        """The weights as float32 (num_output, K); K follows from the number of values."""
        if "weight" not in tensors or not tensors["weight"].size:
            raise GraphError("has no weight in the model file")
        values = tensors["weight"].float32()
        if self.num_output < 1 or values.size % self.num_output:
            raise GraphError(f"weight has {values.size} values, expected a multiple of num_output = {self.num_output}")
        return values.reshape(self.num_output, -1)

    def bias_array(self, tensors: Mapping[str, Tensor]) -> np.ndarray | None:
        """The bias as float32 (num_output,), or None."""
        if not self.has_bias or "bias" not in tensors or not tensors["bias"].size:
            return None
        bias = tensors["bias"].float32()
        if bias.size != self.num_output:
            raise GraphError(f"bias has {bias.size} values, expected num_output = {self.num_output}")
        return bias

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> PackedConv:
        from tnnquant.kernels.pack_f32 import pack_inner_product_f32

        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        if tensors.get("weight") is not None and tensors["weight"].dtype == DataType.INT8:
            tensors = self.widened(tensors)
        weight = self.weight_array(tensors)
        length = prod(inputs[0].dims[1:])
        if weight.shape[1] != length:
            raise GraphError(
                f"weight has {weight.size} values, expected num_output*K = {self.num_output}*{length} = "
                f"{self.num_output * length}"
            )
        return pack_inner_product_f32(weight, self.bias_array(tensors))

    def forward(self, inputs: Sequence[np.ndarray], state: PackedConv) -> list[np.ndarray]:
        from tnnquant.kernels.gemm_f32 import gemm_f32

        x = np.ascontiguousarray(inputs[0]).reshape(inputs[0].shape[0], -1)
        return [gemm_f32(x, state, with_sum_mode(0), np.empty((x.shape[0], self.num_output), np.float32))]

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: PackedConv) -> np.ndarray | None:
        from tnnquant.kernels.gemm_f32 import gemm_f32_op

        x = inputs[0]
        if not x.flags.c_contiguous and prod(x.shape[2:]) != 1:
            return None  # the weights want the order c, h, w
        rows = x.reshape(x.shape[0], -1)
        if not np.shares_memory(rows, x):
            return None
        return gemm_f32_op(rows, state, with_sum_mode(0), outputs[0])

    def widened(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if "weight" not in tensors or "scale" not in tensors or not tensors["scale"].size:
            raise GraphError("has no int8 weight with a scale in the model file")
        weight = tensors["weight"].data.astype(np.float32) * tensors["scale"].float32()[0]
        kept = {name: tensor for name, tensor in tensors.items() if name not in ("scale", "zero_point")}
        return {**kept, "weight": Tensor(weight, tensors["weight"].dims)}

    def why_not_int8(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> str | None:
        if "weight" not in tensors or not tensors["weight"].size:
            return "its weights are not in the model file"
        return None

    def macs(self, inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec]) -> int:
        return prod(inputs[0].dims) * self.num_output


@int8_form(InnerProduct)
class InnerProductInt8(PixelInt8[InnerProduct]):
    """int8 weights, int32 sums, one rounding."""

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> PackedConvI8:
        from tnnquant.kernels.pack_i8 import pack_inner_product_i8

        check_inputs(inputs, 1)
        count = self.layer.num_output
        quant = int8_quant(tensors, scales, count, has_bias=bool(self.layer.has_bias), what="weight")
        channels, inner = (*inputs[0].dims, 1)[1], prod(inputs[0].dims[2:])
        stored = tensors["weight"].data
        if stored.size != count * channels * inner:
            raise GraphError(
                f"weight has {stored.size} values, expected num_output*K = {count}*{channels * inner} = "
                f"{count * channels * inner}"
            )
        # Sums of integers do not depend on the order: the weights take that of the blob's pixels.
        weight = stored.reshape(count, channels, inner).transpose(0, 2, 1).reshape(count, -1)
        zero = np.broadcast_to(quant.input_zero, (inner, channels)).reshape(-1)
        return pack_inner_product_i8(weight, quant._replace(input_zero=zero))

    def ops(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        from tnnquant.kernels.gemm_i8 import gemm_i8_op

        x, out = inputs[0], outputs[0]
        rows = x.reshape(x.shape[0], -1)
        if not np.shares_memory(rows, x):
            return None
        return gemm_i8_op(rows, state, out.reshape(out.shape[0], -1))
