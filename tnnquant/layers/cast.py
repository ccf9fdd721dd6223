"""Cast and BitShift: the integers of a blob (docs/tnn-format.md, 5.3, 5.4, 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import param

__all__ = ["BitShift", "Cast"]

_CASTS = (DataType.FLOAT, DataType.INT8, DataType.INT32)
_INT_MIN = np.int32(-(2**31))


@layer(103, "Cast")
class Cast(Layer):
    """Another data type: FLOAT, INT8 or INT32. Fractions are cut off, integers keep their low bits."""

    to: int = param("int", 0)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        if inputs[0].dtype != self.to:
            check_types(inputs, *_CASTS)
        if self.to not in (*_CASTS, inputs[0].dtype):
            known = ", ".join(f"{code.value} ({code.name})" for code in _CASTS)
            raise UnsupportedLayerError(
                f"casts {inputs[0].dtype.name} to data type {self.to}; TNN's kernel knows {known} only"
            )
        return self

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(inputs[0].dims, DataType(self.to))]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x, wanted = inputs[0], DataType(self.to).numpy
        if x.dtype == wanted:
            return [x]
        if x.dtype.kind == "f":
            # What x86's conversion gives, on every machine: INT_MIN for NaN and for what does not fit.
            fits = (x >= np.float32(-(2.0**31))) & (x < np.float32(2.0**31))
            x = np.where(fits, np.where(fits, x, np.float32(0)).astype(np.int32), _INT_MIN)
        return [x.astype(wanted)]


@layer(313, "BitShift")
class BitShift(Layer):
    """Shift of INT32 taken as unsigned: to the right by ``bits`` if ``direction`` is 0, else to the left."""

    direction: int = param("int", 0)
    bits: int = param("int", 0)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.INT32)
        if not 0 <= self.bits < 32:
            raise GraphError(f"shifts by {self.bits} bits, expected 0 to 31")
        return self

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        bits, x = np.uint32(self.bits), inputs[0].view(np.uint32)
        return [np.asarray(x >> bits if self.direction == 0 else x << bits).view(np.int32)]
