"""ReLU, ReLU6, Clip: a blob between two bounds (docs/tnn-format.md, 5.3, 6.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.kernels.geometry import RELU, RELU6
from tnnquant.layers.base import BlobScales, BlobSpec, QuantRole, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.elementwise import Mapped
from tnnquant.layers.fields import param
from tnnquant.layers.halves import int8_form
from tnnquant.layers.int8 import PixelInt8

__all__ = ["Clip", "Relu", "Relu6"]


@layer(5, "ReLU", "Relu", "QuantizedReLU")
class Relu(Mapped):
    """max(0, x), of integers too; 0 where x is NaN."""

    QUANT = QuantRole.PASS
    KEEPS_ZERO_POINT = False
    FUSED_CODE = ACTIVATION_CODE = RELU
    rectifies = True

    def function(self) -> tuple[str, float, float]:
        return "BOUND", 0.0, math.inf

    def integers(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)


@int8_form(Relu)
class ReluInt8(PixelInt8[Relu]):
    """max(0, code): right for blobs without a zero point."""

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> None:
        check_inputs(inputs, 1)

    def ops(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        from tnnquant.kernels.eltwise_i8 import relu_i8_op

        return relu_i8_op(inputs[0], outputs[0])


@layer(125, "ReLU6", "Relu6")
class Relu6(Mapped):
    """min(6, max(0, x)), of integers too; 0 where x is NaN."""

    FUSED_CODE = ACTIVATION_CODE = RELU6
    rectifies = True

    def function(self) -> tuple[str, float, float]:
        return "BOUND", 0.0, 6.0

    def integers(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, 0, 6)


@layer(171, "Clip")
class Clip(Mapped):
    """max(min, min(max, x)): min everywhere if it lies above max. Absent bounds are 0, not open."""

    min: float = param("float", 0.0)
    max: float = param("float", 0.0)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        return self

    def function(self) -> tuple[str, float, float]:
        return "CLIP", self.min, self.max
