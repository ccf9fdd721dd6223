"""Reformat and Const: layers that convert or hold blobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.errors import UnsupportedLayerError
from tnnquant.layers.base import BlobScales, BlobSpec, Layer, layer
from tnnquant.layers.fields import TensorField, param
from tnnquant.layers.halves import int8_form
from tnnquant.layers.int8 import PixelInt8

__all__ = ["Const", "Reformat"]


@layer(170, "Reformat")
class Reformat(Layer):
    """Quantize (FLOAT to INT8) or dequantize (INT8 to FLOAT) every input to the output at the same position.

    TNN puts these layers between int8 and float ones when it loads a model; files do not hold them. Between equal
    types it is the identity.
    """

    CONVERTS = True

    src: int = param(default=int(DataType.FLOAT))
    dst: int = param(default=int(DataType.FLOAT))

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        if self.src != self.dst:
            raise UnsupportedLayerError(
                f"Reformat from data type {self.src} to {self.dst}: TNN makes such layers itself when it loads an int8 "
                "model; remove them from the file"
            )
        return list(inputs)

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return list(inputs)


@int8_form(Reformat)
class ReformatInt8(PixelInt8[Reformat]):
    """The conversions themselves."""

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(spec.dims, DataType(self.layer.dst)) for spec in inputs]

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> list[QuantParams]:
        return list(scales.of_outputs if self.layer.dst == DataType.INT8 else scales.of_inputs)

    def ops(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        from tnnquant.kernels.eltwise_i8 import Scales, dequantize_i8_op, quantize_i8_op

        make = quantize_i8_op if self.layer.dst == DataType.INT8 else dequantize_i8_op
        rows = []
        for x, out, params in zip(inputs, outputs, state, strict=True):
            op, table = make(x, Scales(params.scale, params.zero_point), out)
            keep.append(table)
            rows.append(op)
        return np.concatenate(rows)


@layer(100, "Const")
class Const(Layer):
    """A constant as a layer."""

    RESOURCE = (TensorField("weight"),)
    WHY_NOT = "TNN has no layer class and no kernel for Const; make the blob a constant of the model instead"

    dims: tuple = param("ints", default=())
