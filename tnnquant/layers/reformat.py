"""Reformat and Const: layers that hold or convert blobs."""

from __future__ import annotations

from tnnquant.layers.base import Layer, TensorField, layer, param
from tnnquant.tensor import DataType

__all__ = ["Const", "Reformat"]


@layer(170, "Reformat")
class Reformat(Layer):
    """Quantize (FLOAT to INT8) or dequantize (INT8 to FLOAT) every input to the output at the same position."""

    src: int = param(default=int(DataType.FLOAT))
    dst: int = param(default=int(DataType.FLOAT))


@layer(100, "Const")
class Const(Layer):
    """A constant as a layer."""

    RESOURCE = (TensorField("weight"),)
    WHY_NOT = "TNN has no layer class and no kernel for Const; make the blob a constant of the model instead"

    dims: tuple = param("ints", default=())
