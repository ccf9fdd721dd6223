"""Guide map of a bilateral-grid network (HDRnet)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import TensorField

__all__ = ["HDRGuide"]

_SIZES = {
    "ccm_weight": 9, "ccm_bias": 3, "shifts": 12, "slopes": 12, "projection_weight": 3, "projection_bias": 1
}  # fmt: skip


class _Curves(NamedTuple):
    """Colour matrix (3, 3) and offset (3,); shifts and slopes of each colour (3, 4); projection (3,) and its offset."""

    matrix: np.ndarray
    offset: np.ndarray
    shifts: np.ndarray
    slopes: np.ndarray
    projection: np.ndarray
    bias: np.float32


@layer(302, "HDRGuide")
class HDRGuide(Layer):
    """(N, 3, H, W) to (N, 1, H, W): colour matrix, piecewise-linear curves, projection, clipped to 0..1."""

    RESOURCE = (
        TensorField("ccm_weight"),
        TensorField("ccm_bias"),
        TensorField("shifts"),
        TensorField("slopes"),
        TensorField("projection_weight"),
        TensorField("projection_bias"),
    )

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        dims = inputs[0].dims
        if len(dims) != 4 or dims[1] != 3:
            raise GraphError(f"the input has the dims {dims}, expected (N, 3, H, W)")
        return [BlobSpec((dims[0], 1, *dims[2:]))]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> _Curves:
        for name, size in _SIZES.items():
            got = tensors[name].size if name in tensors else 0
            if got != size:
                raise GraphError(f"{name} has {got} values, expected {size}")
        matrix, offset, shifts, slopes, projection, bias = (tensors[name].float32() for name in _SIZES)
        return _Curves(matrix.reshape(3, 3), offset, shifts.reshape(3, 4), slopes.reshape(3, 4), projection, bias[0])

    def forward(self, inputs: Sequence[np.ndarray], state: _Curves) -> list[np.ndarray]:
        x = inputs[0]
        guide = np.zeros((x.shape[0], *x.shape[2:]), np.float32)
        for color in range(3):
            row = state.matrix[color]
            mixed = row[0] * x[:, 0] + row[1] * x[:, 1] + row[2] * x[:, 2] + state.offset[color]
            curve = np.zeros_like(mixed)
            for shift, slope in zip(state.shifts[color], state.slopes[color], strict=True):
                curve += slope * np.maximum(mixed - shift, np.float32(0))
            guide += state.projection[color] * curve
        return [np.clip(guide + state.bias, np.float32(0), np.float32(1))[:, None]]
