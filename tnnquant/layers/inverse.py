"""Inverse of matrices (docs/tnn-format.md, 5.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types

__all__ = ["Inverse"]


@layer(322, "Inverse")
class Inverse(Layer):
    """Inverse of the matrices in the last two axes. TNN's CPU device knows 2x2 alone; others are inverted in double."""

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        dims = inputs[0].dims
        if len(dims) < 2 or dims[-1] != dims[-2]:
            raise GraphError(f"the input has the dims {dims}, expected square matrices in the last two")
        return [BlobSpec(dims)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        if x.shape[-1] != 2:
            try:
                return [np.linalg.inv(x.astype(np.float64)).astype(np.float32)]
            except np.linalg.LinAlgError:
                raise GraphError("a matrix to be inverted is singular") from None
        a, b, c, d = x[..., 0, 0], x[..., 0, 1], x[..., 1, 0], x[..., 1, 1]
        with np.errstate(all="ignore"):  # as in TNN, the inverse of a singular matrix is infinite or NaN
            scale = np.float32(1) / (a * d - b * c)
            rows = np.stack([d * scale, -b * scale], -1), np.stack([-c * scale, a * scale], -1)
        return [np.stack(rows, -2)]
