"""Matrix product of blobs, or of a blob and a matrix in the model file (reference, 4.4, 5.1, 9)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, ScaleField, TensorField, layer, param

__all__ = ["MatMul"]


@layer(105, "MatMul", "DynamicRangeQuantizedMatMul")
class MatMul(Layer):
    """``A @ B``; ``weight_position`` 0: A lies in the model file, 1: B does, -1: both are blobs."""

    RESOURCE = (TensorField("weight"), ScaleField("weight", zero_point=False))

    weight_position: int = param(default=-1)
